"""Connectors in groups as the manager has them: created, told of, changed and deleted in a real cluster."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lightkube.codecs import from_dict
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import RoleRef, Subject
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Secret, ServiceAccount, ServiceAccountToken
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding

from headwater.config import InvalidConfigError
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
)
from headwater.core.managed import Phase
from headwater.kubernetes.names import GROUP as GROUP_LABEL
from headwater.kubernetes.names import MANAGED_BY
from headwater.testing.kubernetes import Image, Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import phase, until
from kubernetes.groups import GROUP, TELLING, GroupBed, group_bed, telling
from kubernetes.workloads import deployment, pod_spec

KINDS: tuple[type[Any], ...] = (
    *(ServiceAccount, Role, RoleBinding, PodDisruptionBudget, Deployment, ConfigMap, Secret, Lease),
)
DEPLOY = Path(__file__).parents[2] / "deploy"
SECRET = '  headers: {x: "${{ secrets.TOKEN }}"}\n'


# As in test_group.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _image(images: dict[str, Image]) -> Iterator[None]:
    images[TELLING] = telling()
    yield
    gc.collect()


async def ours(it: GroupBed) -> set[str]:
    """Return the kinds and names of everything that is ours, Leases by themselves."""
    found = set()
    for kind in KINDS:
        for plain in await it.objects(kind, {MANAGED_BY: "headwater"}):
            if plain["kind"] != "Lease" or "slot" not in plain["metadata"]["name"]:
                found.add(f"{plain['kind']}/{plain['metadata']['name']}")
    return found


async def test_from_creation_to_deletion(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """A group comes with its first connector, goes with its last, and each is told of by itself meanwhile.

    The namespace takes only what the restricted level allows.
    """
    async with group_bed(cluster, namespace, tmp_path) as it:
        level = {"pod-security.kubernetes.io/enforce": "restricted"}
        await it.bed.client.patch(Namespace, namespace, {"metadata": {"labels": level}})
        await it.bed.provide_profile()
        options = {"image": TELLING, "group": GROUP, "replicas": 2, "slots": 12, "grace": 5}
        async with it.bed.manager(**options) as grouping, it.bed.manager(image=None) as manager:
            assert (await grouping.create(it.definition("cats"), dry_run=True)).action == "created"
            assert await ours(it) == set()
            await grouping.create(it.definition("cats"))
            # Of a group that is there nothing has to be said again.
            async with it.bed.manager(group=GROUP, image=None) as again:
                await again.create(it.definition("dogs", SECRET, TOKEN="hush-hush"))
            with pytest.raises(ConnectorExistsError, match="Connector already exists: cats"):
                await grouping.create(it.definition("cats"))
            with pytest.raises(ConnectorExistsError, match="Connector already exists: cats, in group feeds"):
                await manager.create(it.definition("cats"))
            cats = await phase(manager, "cats", Phase.RUNNING)
            dogs = await phase(manager, "dogs", Phase.RUNNING)
            assert {cats.where, dogs.where} <= set(await it.pods())
            assert [(one.name, one.status, one.topic) for one in await manager.list()] == [
                ("cats", Phase.RUNNING, "cats"),
                ("dogs", Phase.RUNNING, "dogs"),
            ]
            found = await ours(it)
            assert {
                "Deployment/feeds",
                "ConfigMap/cats-connector",
                "ConfigMap/dogs-connector",
                "Role/dogs-secrets",
            } <= found
            assert "hush" not in await manager.config("dogs")
            assert it.bed.server.received[-1].header("x") in {None, "hush-hush"}

            await manager.pause("cats")
            await phase(manager, "cats", Phase.PAUSED)
            before = sum(poll.connector == "cats" for poll in it.polls)
            await it.polled(["dogs"])
            await manager.restart("dogs")
            await phase(manager, "dogs", Phase.RUNNING)
            await it.polled(["dogs"])
            assert sum(poll.connector == "cats" for poll in it.polls) <= before + 1
            await manager.resume("cats")
            await phase(manager, "cats", Phase.RUNNING)

            # Updates: of a connector with its secret, and of the group.
            assert (await manager.update(it.definition("dogs", SECRET, TOKEN="hush-hush"))).action == "unchanged"
            planned = await manager.update(it.definition("dogs", SECRET, TOKEN="hush-2"))
            assert planned.difference == ("~secret TOKEN",)
            await until(lambda: any(one.header("x") == "hush-2" for one in it.bed.server.received))
            with pytest.raises(ConnectorError, match="it is in group feeds, not in others"):
                async with it.bed.manager(group="others", image=None) as others:
                    await others.update(it.definition("dogs", SECRET, TOKEN="hush-2"))
            async with it.bed.manager(group=GROUP, replicas=1, image=None) as fewer:
                planned = await fewer.update(it.definition("cats"))
                assert planned.difference == ("-replicas: 2", "+replicas: 1")
            await it.shared(1)
            with pytest.raises(ConnectorError, match="group feeds has 12 slots, which can never be others"):
                async with it.bed.manager(group=GROUP, slots=4, image=None) as odd:
                    await odd.create(it.definition("birds"))
            with pytest.raises(InvalidConfigError):
                await manager.update(it.definition("cats", "nonsense: 1\n"))

            await manager.delete("cats")
            with pytest.raises(ConnectorNotFoundError):
                await manager.get("cats")
            await it.polled(["dogs"])
            assert "Deployment/feeds" in await ours(it)
            await manager.delete("dogs")
            await until(lambda: _nothing(it))
            assert await manager.list() == []
            it.check()


async def _nothing(it: GroupBed) -> bool:
    return not await ours(it) and not await it.objects(Pod, {GROUP_LABEL: GROUP})


async def test_the_roles_are_enough(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """A user who has both of deploy/ and nothing else does everything that may be asked of connectors in groups."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        await it.bed.provide_profile()
        for file in ("role.yaml", "role-groups.yaml"):
            role = yaml.safe_load((DEPLOY / file).read_text())
            await it.bed.client.apply(from_dict(role), field_manager="kubectl")
            binding = RoleBinding(
                metadata=ObjectMeta(name=file),
                roleRef=RoleRef(apiGroup="rbac.authorization.k8s.io", kind="Role", name=role["metadata"]["name"]),
                subjects=[Subject(kind="ServiceAccount", name="default", namespace=namespace)],
            )
            await it.bed.client.create(binding)
        asked = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
        answer = await it.bed.client.create(asked, "default", namespace=namespace)
        assert answer.status is not None
        assert answer.status.token is not None
        path = cluster.kubeconfig_of(answer.status.token, namespace)
        options = {"image": TELLING, "group": GROUP, "replicas": 1, "slots": 12, "grace": 5, "kubeconfig": path}
        async with it.bed.manager(**options) as manager:
            await manager.create(it.definition("cats", SECRET, TOKEN="hush"))
            await phase(manager, "cats", Phase.RUNNING)
            assert [line async for line in manager.logs("cats")]
            await manager.update(it.definition("cats", SECRET, TOKEN="other"))
            await manager.update(it.definition("cats", SECRET, TOKEN="another"))
            await manager.pause("cats")
            await manager.resume("cats")
            await manager.restart("cats")
            assert await manager.config("cats")
            assert len(await manager.list()) == 1
            await manager.delete("cats")
            await until(lambda: _nothing(it))


async def test_the_log_of_one_of_many(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Only the lines about it, from the pod that has it; following goes on with the pod that has it next."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=1, connectors=3)
        async with it.bed.manager() as manager, aclosing(cast("Any", manager.logs("c1", follow=True))) as lines:
            said = json.loads(await anext(lines))
            assert (said["connector"], said["event"]) == ("c1", "connector started")
            (line,) = [line async for line in manager.logs("c1")]
            assert json.loads(line) == said
            (pod,) = await it.pods()
            await it.bed.client.delete(Pod, pod)
            ended = json.loads(await anext(lines))
            assert (ended["connector"], ended["event"]) == ("c1", "connector ended")
            started = json.loads(await anext(lines))
            assert (started["connector"], started["event"]) == ("c1", "connector started")
            assert started["timestamp"] > ended["timestamp"]
            assert [line async for line in manager.logs("c1", tail=0)] == []
        await it.polled(names)


async def test_what_is_not_a_group(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Another Deployment of the group's name, and another ConfigMap of the connector's: refused, and left alone."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        await it.bed.client.create(deployment("feeds", pod_spec("sleep 1"), replicas=0))
        async with it.bed.manager(group=GROUP) as manager:
            with pytest.raises(ConnectorOwnedError, match="the Deployment feeds there is no group of Headwater's"):
                await manager.create(it.definition("cats"))
        async with it.bed.manager(group="others", replicas=0) as manager:
            # A group and one of its connectors may have the same name, and nobody takes one for the other.
            await manager.create(it.definition("others"))
            async with it.bed.manager() as single:
                assert (await single.get("others")).reason == "the Deployment of group others is scaled to 0"
                await single.delete("others")
            await it.bed.client.create(ConfigMap(metadata=ObjectMeta(name="cats-connector")))
            with pytest.raises(ConnectorOwnedError, match="the ConfigMap cats-connector there is of something else"):
                await manager.create(it.definition("cats"))
            with pytest.raises(ConnectorError, match="a group has no storage"):
                async with it.bed.manager(group="others", storage="1Gi") as storing:
                    await storing.create(it.definition("dogs"))
            with pytest.raises(ConnectorNotFoundError, match="does not exist in group others"):
                await manager.update(it.definition("cats"))
        assert await ours(it) == set()


async def test_a_group_without_pods(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Why a connector does not run is told: no pod yet, none wanted, no group at all."""
    # Without a profile no pod can begin.
    async with group_bed(cluster, namespace, tmp_path) as it, it.bed.manager(group=GROUP, replicas=1) as manager:
        await manager.create(it.definition("cats"))
        await phase(manager, "cats", Phase.PENDING, "no pod of group feeds works on it yet (0 are ready)")
        await it.scale(0)
        await phase(manager, "cats", Phase.PAUSED, "the Deployment of group feeds is scaled to 0")
        await it.bed.client.delete(Deployment, GROUP)
        await phase(manager, "cats", Phase.FAILED, "there is no group feeds")
        assert [one.status for one in await manager.list()] == [Phase.FAILED]
        await manager.delete("cats")
        await until(lambda: _nothing(it))
