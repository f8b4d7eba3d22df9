"""The files of deploy/: consistent in themselves and with what connectors expect, and accepted by a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightkube.codecs import from_dict
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import RoleRef, Subject
from lightkube.resources.core_v1 import Pod, ServiceAccountToken
from lightkube.resources.rbac_authorization_v1 import RoleBinding

from headwater.cli.up import command as up
from headwater.cluster import Cluster as FluvioCluster
from headwater.cluster import Producer, Target
from headwater.core.managed import Phase
from headwater.core.record import Record
from headwater.kubernetes.options import PROFILE_CONFIG_MAP, PROFILE_KEY
from headwater.kubernetes.render import container_security, pod_security
from headwater.profile.text import FluvioConfig
from headwater.testing.kubernetes import Image, Kubelet
from headwater.version import __version__
from kubernetes.cluster import Cluster, ready
from kubernetes.connectors import bed, phase, until

ROOT = Path(__file__).parents[2] / "deploy"
BASE = ROOT / "kustomize"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())


def objects() -> dict[str, dict[str, Any]]:
    """Return the objects of the base by kind, with what the kustomization makes of their images."""
    found = {}
    for name in KUSTOMIZATION["resources"]:
        (plain,) = yaml.safe_load_all((BASE / name).read_text())
        found[plain["kind"]] = plain
    (image,) = KUSTOMIZATION["images"]
    (container,) = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image["name"]
    container["image"] = f"{image['name']}:{image['newTag']}"
    return found


def test_the_base_is_whole() -> None:
    """Every file is named once, the image is this version's, and what selects pods selects those of the set."""
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert sorted(KUSTOMIZATION["resources"]) == sorted(files)
    found = objects()
    template = found["StatefulSet"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == f"headwater:{__version__}"
    labels = template["metadata"]["labels"]
    for selector in (
        found["StatefulSet"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for port in found["Service"]["spec"]["ports"]:
        assert port["port"] == ports[port["targetPort"]]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports


def test_the_server_is_as_restricted_as_a_connector() -> None:
    """Both have the same security contexts, and neither has a token."""
    spec = objects()["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["securityContext"] == pod_security()
    assert spec["containers"][0]["securityContext"] == container_security()
    assert not spec["automountServiceAccountToken"]
    assert not objects()["ServiceAccount"]["automountServiceAccountToken"]


def test_the_servers_arguments_are_options_of_up(tmp_path: Path) -> None:
    """Each is one that the command knows, and the ports are those of the container."""
    (container,) = objects()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    first, *arguments = container["args"]
    assert first == "up"
    given = [it.replace("$(POD_IP)", "10.0.0.1").replace("$(POD_NAMESPACE)", "feeds") for it in arguments]
    context = up.make_context("up", [*given, f"--data-dir={tmp_path}"])
    assert (context.params["sc_port"], context.params["spu_port"]) == (9003, 9005)
    assert context.params["advertise"] == ("headwater.feeds.svc", None)


def test_the_profile_is_the_one_that_connectors_read() -> None:
    """It has the name and the key of the old controller's, and leads to the Service."""
    found = objects()
    profile = found["ConfigMap"]
    assert profile["metadata"]["name"] == PROFILE_CONFIG_MAP
    config = FluvioConfig.parse(profile["data"][PROFILE_KEY], "a test")
    assert config.current is not None
    service = found["Service"]
    assert config.profile(config.current).endpoint == f"{service['metadata']['name']}:9003"


async def test_the_server_runs_at_the_restricted_level(
    cluster: Cluster, kubelet: Kubelet, images: dict[str, Image], tmp_path: Path
) -> None:
    """It becomes ready, keeps its topics on its claim over the death of its pod, and serves them."""
    images[f"headwater:{__version__}"] = images["headwater:test"]
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = cluster.make_namespace(labels, node=kubelet.name)
    try:
        async with bed(cluster, namespace, tmp_path) as it:
            found = objects()
            # Services are not routed here.
            arguments = found["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["args"]
            arguments[arguments.index("--advertise=headwater.$(POD_NAMESPACE).svc")] = "--advertise=$(POD_IP)"
            for plain in found.values():
                await it.client.apply(from_dict(plain), field_manager="kubectl")

            async def address(other: str = "") -> tuple[str, str] | None:
                pod = await it.client.get(Pod, "headwater-0")
                assert pod.metadata is not None
                uid = pod.metadata.uid or ""
                return (pod.status.podIP or "", uid) if ready(pod) and pod.status and uid != other else None

            await until(lambda: present(it, "headwater-0"))
            host, uid = await until(address)
            async with FluvioCluster(Target(host, 9003)) as fluvio:
                await fluvio.create_topic("cats")
                async with Producer(fluvio, "cats") as producer:
                    await producer.send([Record(b"purr")])
            await it.client.delete(Pod, "headwater-0")
            await until(lambda: replaced(it, uid))
            host, _ = await until(lambda: address(uid))
            async with FluvioCluster(Target(host, 9003)) as fluvio:
                assert [record.value for record in await fluvio.read("cats")] == [b"purr"]
    finally:
        cluster.delete_namespace(namespace)


async def present(it: Any, name: str) -> bool:
    return name in [pod.metadata.name async for pod in it.client.list(Pod)]


async def replaced(it: Any, uid: str) -> bool:
    return [pod.metadata.uid async for pod in it.client.list(Pod)] not in ([uid], [])


async def test_the_role_is_enough(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """A user who has it and nothing else does everything that may be asked of connectors."""
    async with bed(cluster, namespace, tmp_path) as it:
        await it.provide_profile()
        role = yaml.safe_load((ROOT / "role.yaml").read_text())
        await it.client.apply(from_dict(role), field_manager="kubectl")
        binding = RoleBinding(
            metadata=ObjectMeta(name="managers"),
            roleRef=RoleRef(apiGroup="rbac.authorization.k8s.io", kind="Role", name=role["metadata"]["name"]),
            subjects=[Subject(kind="ServiceAccount", name="default", namespace=namespace)],
        )
        await it.client.create(binding)
        asked = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
        answer = await it.client.create(asked, "default", namespace=namespace)
        assert answer.status is not None
        assert answer.status.token is not None
        path = cluster.kubeconfig_of(answer.status.token, namespace)
        secret = '  headers: {x: "${{ secrets.TOKEN }}"}\n'
        async with it.manager(kubeconfig=path) as manager, it.manager(kubeconfig=path, storage="1Gi") as keeping:
            await manager.create(it.definition(more=secret, TOKEN="hush"))
            await keeping.create(it.definition("dogs"))
            await phase(manager, "cats", Phase.RUNNING)
            assert [line async for line in manager.logs("cats", tail=1)]
            await manager.update(it.definition(more=secret, TOKEN="other"))
            await manager.update(it.definition(more=secret, TOKEN="another"))
            await manager.pause("cats")
            await manager.resume("cats")
            await manager.restart("cats")
            assert await manager.config("cats")
            assert len(await manager.list()) == 2
            await manager.delete("cats")
            await manager.delete("dogs")
