"""Connectors in a real cluster: real API server and controllers, and pods that are processes of this machine."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lightkube.codecs import from_dict
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import (
    ConfigMap,
    PersistentVolumeClaim,
    Pod,
    ResourceQuota,
    ServiceAccount,
    ServiceAccountToken,
)
from lightkube.types import PatchType

from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    ManagerError,
)
from headwater.core.managed import Phase
from headwater.kubernetes import Settings
from headwater.kubernetes.connectors import KubernetesManager
from headwater.kubernetes.manifest import manifest
from headwater.testing.kubernetes import Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import ALLOWED, IMAGE, Bed, bed, phase, until
from kubernetes.workloads import deployment, pod_spec


async def test_the_life_of_a_connector(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Created, listed, paused, resumed, restarted, updated, deleted; and its records have neither gap nor repeat."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        definition = it.definition()
        planned = await manager.create(definition)
        assert (planned.name, planned.action) == ("cats", "created")
        running = await phase(manager, "cats", Phase.RUNNING)
        assert (running.type, running.version, running.topic, running.restarts) == ("http", "latest", "cats", 0)
        assert running.created
        assert running.where.startswith("cats-")
        assert await manager.list() == [running]
        assert await manager.config("cats") == definition.text
        await it.grown()

        await manager.pause("cats")
        assert (await phase(manager, "cats", Phase.PAUSED)).paused
        await until(lambda: _none(it))
        await manager.resume("cats")
        resumed = await phase(manager, "cats", Phase.RUNNING)
        assert resumed.where != running.where
        await it.grown()

        await manager.restart("cats")
        await phase(manager, "cats", Phase.INIT)
        restarted = await phase(manager, "cats", Phase.RUNNING)
        assert restarted.where != resumed.where

        changed = it.definition(more="  spread: false\n")
        assert (await manager.update(definition)).action == "unchanged"
        planned = await manager.update(changed)
        assert (planned.action, planned.difference[-1]) == ("updated", "+  spread: false")
        assert (await phase(manager, "cats", Phase.RUNNING)).where != restarted.where
        assert await manager.config("cats") == changed.text

        numbers = await it.grown()
        assert numbers == list(range(len(numbers)))
        planned = await manager.delete("cats")
        assert planned.action == "deleted"
        assert await it.ours() == []
        assert await manager.list() == []
        await until(lambda: _none(it))
        assert await it.values() == list(range(len(await it.values())))


async def _none(it: Bed) -> bool:
    return not await it.pods()


async def test_a_dry_run_changes_nothing(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """The cluster is asked whether it would, and says so; neither object nor pod is another one afterwards."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        before = await it.objects()
        secret = 'headers: {x: "${{ secrets.TOKEN }}"}\n'
        definition = it.definition(more=f"  {secret}", TOKEN="hush-hush")
        planned = await manager.create(definition, dry_run=True)
        assert (planned.action, planned.difference[-1]) == ("created", "+secret TOKEN")
        assert await it.objects() == before
        await it.provide_profile()
        await manager.create(definition)
        before = await it.objects()
        planned = await manager.update(it.definition(more=f"  {secret}", TOKEN="other-hush"), dry_run=True)
        assert (planned.action, planned.difference) == ("updated", ("~secret TOKEN",))
        assert (await manager.delete("cats", dry_run=True)).action == "deleted"
        after = await it.objects()
        assert {name: plain["spec"] for name, plain in after.items() if "spec" in plain} == {
            name: plain["spec"] for name, plain in before.items() if "spec" in plain
        }
        assert set(after) == set(before)
        with pytest.raises(ConnectorError, match=r"Deployment\.apps \"cats\" is invalid.*requests"):
            async with it.manager(requests={"memory": "8Gi"}, limits={"memory": "1Gi"}) as other:
                await other.update(definition, dry_run=True)


async def test_names_that_are_there_and_that_are_not(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """A second creation, and whatever is asked of a connector that nobody made, are told; the nearest is named."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await manager.create(it.definition())
        with pytest.raises(ConnectorExistsError, match="Connector already exists: cats"):
            await manager.create(it.definition())
        with pytest.raises(ConnectorNotFoundError, match="Invalid connector: cat - does not exist"):
            await manager.update(it.definition("cat"))
        for call in (manager.get, manager.delete, manager.config, manager.pause, manager.resume, manager.restart):
            with pytest.raises(ConnectorNotFoundError, match=r"Connector not found: cat$") as raised:
                await call("cat")
            assert raised.value.hint == "did you mean cats?"
        with pytest.raises(ConnectorNotFoundError):
            await anext(manager.logs("cat"))


async def test_what_others_have_made_is_never_touched(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """A Deployment of the name, a ConfigMap or an account of the name: refused, and as it was; nothing else is made."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        definition = it.definition()
        theirs = deployment("cats", pod_spec("sleep 1"), replicas=0)
        await it.client.create(theirs)
        before = await it.objects()
        for call in (manager.get, manager.delete, manager.config, manager.pause, manager.restart):
            with pytest.raises(ConnectorOwnedError, match="the Deployment cats there is not Headwater's"):
                await call("cats")
        with pytest.raises(ConnectorOwnedError):
            await manager.create(definition)
        with pytest.raises(ConnectorOwnedError):
            await manager.update(definition)
        assert await manager.list() == []
        assert await it.objects() == before
        await it.client.delete(Deployment, "cats")

        account = ServiceAccount(metadata=ObjectMeta(name="dogs-connector", labels={"app": "theirs"}))
        await it.client.create(account)
        before = await it.objects()
        with pytest.raises(ConnectorOwnedError, match="the ServiceAccount dogs-connector there is not Headwater's"):
            await manager.create(it.definition("dogs"))
        assert await it.objects() == before


async def test_deleting_one_leaves_the_others(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """Of connectors with similar names only the one goes, and what others have labelled like it stays."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        for name in ("cats", "cats-config", "cat"):
            await manager.create(it.definition(name))
        theirs = ConfigMap(metadata=ObjectMeta(name="cats-config-theirs", labels={"connectorName": "cats"}))
        await it.client.create(theirs)
        await manager.delete("cats")
        assert [found.name for found in await manager.list()] == ["cat", "cats-config"]
        left = await it.objects()
        assert "ConfigMap/cats-config-theirs" in left
        assert len([name for name in left if name.startswith("ConfigMap/cats-config-config-")]) == 1


async def test_what_somebody_else_has_changed(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """A field that another tool has taken is not taken back in silence: it is told who keeps it."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await manager.create(it.definition())
        scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0}}
        await it.client.patch(Deployment, "cats", scaled, patch_type=PatchType.APPLY, field_manager="flux", force=True)
        state = await manager.get("cats")
        assert (state.status, state.reason) == (Phase.PAUSED, "somebody has scaled its Deployment to 0")
        with pytest.raises(ConnectorOwnedError, match=r"flux keeps \.spec\.replicas"):
            await manager.resume("cats")


async def test_a_rollout_that_was_undone(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """The last configuration is there still; who undid it keeps it, until it is taken over as the hint says."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        first, second = it.definition(), it.definition(more="  spread: false\n")
        await manager.create(first)
        before = (await it.client.get(Deployment, "cats")).to_dict()["spec"]["template"]
        await manager.update(second)
        undone = {"spec": {"template": before}}
        await it.client.patch(Deployment, "cats", undone, field_manager="kubectl-rollout")
        assert await manager.config("cats") == first.text
        await phase(manager, "cats", Phase.RUNNING)
        with pytest.raises(ConnectorOwnedError, match="kubectl-rollout keeps") as raised:
            await manager.update(second)
        assert "--force-conflicts --field-manager headwater" in raised.value.hint
        assert len([name for name in await it.ours() if name.startswith("ConfigMap/")]) == 2
        for plain in yaml.safe_load_all(
            manifest([second], Settings(image=IMAGE, egress_allow=ALLOWED), namespace=namespace)
        ):
            await it.client.apply(from_dict(plain), field_manager="headwater", force=True)
        assert await manager.config("cats") == second.text
        assert (await manager.update(first)).action == "updated"


async def test_a_creation_that_fails_half_way(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """What was made before the failure is deleted again; the next try succeeds."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        before = await it.objects()
        real = manager._api.apply

        async def failing(plain: Any, doing: str, *, dry_run: bool = False, uid: str = "") -> None:
            if plain["kind"] == "Deployment" and not dry_run:
                raise ManagerError("the API server is away")
            await real(plain, doing, dry_run=dry_run, uid=uid)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manager._api, "apply", failing)
            with pytest.raises(ManagerError, match="is away"):
                await manager.create(it.definition())
        assert await it.objects() == before
        assert (await manager.create(it.definition())).action == "created"


async def test_the_same_objects_by_gitops(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """What `k8s manifest` prints, applied by another tool, are the objects of a creation; that tool keeps them."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager(storage="1Gi") as manager:
        definition = it.definition(more='  headers: {x: "${{ secrets.TOKEN }}"}\n', TOKEN="hush-hush")
        settings = Settings(image=IMAGE, storage="1Gi", profile_config_map="", egress_allow=ALLOWED)
        text = manifest([definition], settings, with_secrets=True)
        for plain in yaml.safe_load_all(text):
            await it.client.apply(from_dict(plain), field_manager="kubectl")
        applied = await it.objects()
        with pytest.raises(ConnectorOwnedError, match="kubectl keeps"):
            await manager.pause("cats")
        await phase(manager, "cats", Phase.RUNNING)
        await manager.delete("cats")
        await it.client.delete(PersistentVolumeClaim, "cats-data")
        await until(lambda: _gone(it))
        await manager.create(definition)
        created = await it.objects()
        assert set(created) == set(applied)
        for name, plain in created.items():
            if name.startswith("PersistentVolumeClaim"):
                plain["spec"].pop("volumeName", None)
                applied[name]["spec"].pop("volumeName", None)
                plain["metadata"].get("annotations", {}).clear()
                applied[name]["metadata"].get("annotations", {}).clear()
            assert plain == applied[name], name


async def _gone(it: Bed) -> bool:
    return "PersistentVolumeClaim/cats-data" not in await it.objects()


async def test_the_restricted_level_takes_our_pods(cluster: Cluster, kubelet: Kubelet, tmp_path: Path) -> None:
    """Where the API server enforces it, with and without a volume and secrets."""
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    namespace = cluster.make_namespace(labels, node=kubelet.name)
    try:
        async with bed(cluster, namespace, tmp_path) as it:
            await it.provide_profile()
            async with it.manager() as manager, it.manager(storage="1Gi") as keeping:
                await manager.create(it.definition())
                secret = it.definition("dogs", '  headers: {x: "${{ secrets.TOKEN }}"}\n', TOKEN="hush-hush")
                await keeping.create(secret)
                await phase(manager, "cats", Phase.RUNNING)
                await phase(manager, "dogs", Phase.RUNNING)
                await it.grown()
                await until(lambda: bool(it.server.received))
                sent = await until(lambda: [r for r in it.server.received if r.path == "/dogs"])
                assert sent[0].header("x") == "hush-hush"
    finally:
        cluster.delete_namespace(namespace)


async def test_what_keeps_a_connector_from_running(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """An image that is not there, a configuration that cannot run, a cluster that is away: each says why."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        async with it.manager(image="nowhere:1") as other:
            await other.create(it.definition("pulled"))
        async with it.manager(profile_config_map="nowhere") as other:
            await other.create(it.definition("mounted"))
        await phase(manager, "mounted", Phase.INIT, 'configmap "nowhere" not found')
        await manager.create(it.definition("invalid", "create_topic: false\n"))
        await phase(manager, "pulled", Phase.FAILED, "nowhere:1")
        await phase(manager, "invalid", Phase.INVALID, "there is no topic 'invalid', and create_topic is false")
        # The pod of an image that is not there is replaced by the next one.
        await manager.update(it.definition("invalid"))
        async with it.manager(image=IMAGE) as other:
            planned = await other.update(it.definition("pulled"))
        assert planned.difference == ("-image: nowhere:1", f"+image: {IMAGE}")
        await phase(manager, "invalid", Phase.RUNNING)
        await phase(manager, "pulled", Phase.RUNNING)


async def test_a_quota_that_is_used_up(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """That no pod can be made is told, with the controller's reason."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        quota = ResourceQuota(metadata=ObjectMeta(name="few"), spec=ResourceQuotaSpec(hard={"pods": "0"}))
        await it.client.create(quota)
        await manager.create(it.definition())
        await phase(manager, "cats", Phase.FAILED, "no pod can be made: pods ")
        assert "exceeded quota: few" in (await manager.list())[0].reason


async def test_secrets_change_with_the_pod(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Another value is another Secret and another pod; the last but one is deleted, the last one stays for an undo."""
    more = '  headers: {x: "${{ secrets.TOKEN }}"}\n'
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        await manager.create(it.definition(more=more, TOKEN="hush-0"))
        for number in (1, 2):
            await phase(manager, "cats", Phase.RUNNING)
            await manager.update(it.definition(more=more, TOKEN=f"hush-{number}"))
        await until(lambda: it.server.received[-1].header("x") == "hush-2")
        ours = await it.ours()
        assert len([name for name in ours if name.startswith("Secret/")]) == 2
        assert len([name for name in ours if name.startswith("ConfigMap/")]) == 1
        assert "hush" not in await manager.config("cats")


async def test_logs_over_a_replacement(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Following goes on with the next container and with the next pod; a tail is of what is there already."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        await manager.create(it.definition())

        async def event(lines: AsyncIterator[str], wanted: str) -> None:
            async for line in lines:
                if json.loads(line)["event"] == wanted:
                    return

        async with aclosing(cast("Any", manager.logs("cats", follow=True))) as lines:
            await event(lines, "running")
            state = await phase(manager, "cats", Phase.RUNNING)
            (last,) = [line async for line in manager.logs("cats", tail=1)]
            everything = [line async for line in manager.logs("cats")]
            assert everything[-1] == last
            assert len(everything) > 1
            await asyncio.to_thread(kubelet.kill, state.where, namespace)
            await event(lines, "running")
            await manager.restart("cats")
            await event(lines, "stopping; what is under way may finish")
            await event(lines, "running")


async def test_a_pod_that_is_killed_and_one_that_is_deleted(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """The next one goes on where it was, from the checkpoint in the cluster: one exchange at most comes twice."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        await manager.create(it.definition())
        first = await phase(manager, "cats", Phase.RUNNING)
        await it.grown()
        await asyncio.to_thread(kubelet.kill, first.where, namespace)
        await it.grown()
        await it.client.delete(Pod, first.where, grace_period=0)
        await until(lambda: _other_pod(manager, first.where))
        numbers = await it.grown()
        assert set(numbers) == set(range(max(numbers) + 1))
        assert len(numbers) - len(set(numbers)) <= 2
        assert numbers == sorted(numbers)


async def _other_pod(manager: KubernetesManager, before: str) -> bool:
    state = await manager.get("cats")
    return state.status is Phase.RUNNING and state.where != before


@pytest.mark.long
async def test_many_ends_of_pods(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Killed, deleted, restarted, updated, paused in any order: no gap, and one exchange at most for each end."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        await manager.create(it.definition())
        ends = 0
        for number in range(20):
            state = await phase(manager, "cats", Phase.RUNNING)
            await it.grown(by=chance.randrange(1, 5))
            ends += 1
            match chance.choice(["kill", "delete", "restart", "update", "pause"]):
                case "kill":
                    await asyncio.to_thread(kubelet.kill, state.where, namespace)
                case "delete":
                    await it.client.delete(Pod, state.where, grace_period=0)
                case "restart":
                    await manager.restart("cats")
                case "update":
                    await manager.update(it.definition(more=f"# {number}\n"))
                case _:
                    await manager.pause("cats")
                    await manager.resume("cats")
        numbers = await it.grown()
        assert set(numbers) == set(range(max(numbers) + 1))
        assert len(numbers) - len(set(numbers)) <= ends


async def test_storage_outlives_the_connector(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """The embedded log is on a volume: a new pod goes on in it, and so does the connector when it is created again."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager(storage="1Gi") as manager:
        definition = it.definition()
        await manager.create(definition)
        await phase(manager, "cats", Phase.RUNNING)

        async def asked(number: int) -> None:
            await until(
                lambda: (
                    int(it.server.received[-1].header("if-none-match") or 0) >= number if it.server.received else False
                )
            )

        await asked(3)
        await manager.restart("cats")
        await asked(6)
        await manager.delete("cats")
        assert await it.ours() == ["PersistentVolumeClaim/cats-data"]
        await until(lambda: _none(it))
        reached = int(it.server.received[-1].header("if-none-match") or 0)
        await manager.create(definition)
        await asked(reached + 2)
        numbers = [int(received.header("if-none-match") or 0) for received in it.server.received]
        assert numbers == sorted(numbers)


async def test_who_may_not(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """A user without the role, a wrong token and a namespace that is not there: each is told with what to do."""
    async with bed(cluster, namespace, tmp_path) as it:
        asked = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
        answer = await it.client.create(asked, "default", namespace=namespace)
        assert answer.status is not None
        assert answer.status.token is not None
        path = cluster.kubeconfig_of(answer.status.token, namespace)
        async with it.manager(kubeconfig=path) as manager:
            with pytest.raises(ConnectorError, match="is forbidden: User") as raised:
                await manager.create(it.definition())
            assert "docs/in-kubernetes.md" in raised.value.hint
        async with it.manager(kubeconfig=cluster.kubeconfig_of("wrong", namespace)) as manager:
            with pytest.raises(ManagerError, match="does not know who asks"):
                await manager.list()
        async with it.manager(namespace="nowhere") as manager:
            assert await manager.list() == []
            with pytest.raises(ConnectorError, match="there is no such namespace"):
                await manager.create(it.definition())
