"""Many connectors in few pods: a real API server, real processes as pods, and endpoints that note who polls them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Pod

from headwater.core.managed import Phase
from headwater.kubernetes.group.claims import Terms
from headwater.kubernetes.group.members import Told
from headwater.kubernetes.group.render import render_member
from headwater.kubernetes.names import CONTAINER, PAUSED, RESTARTED, group_owner, member_name
from headwater.testing.kubernetes import Image, Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import until
from kubernetes.groups import BOUND, GROUP, SLOTS, TELLING, GroupBed, group_bed, telling, working

# The node gives up what it asks about pods that go. A connection that was just being opened for that is closed by the
# collector, and by no other test's.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(autouse=True)
def _image(images: dict[str, Image]) -> Iterator[None]:
    images[TELLING] = telling()
    yield
    gc.collect()


async def test_a_killed_pod(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Three pods share twelve connectors; when one is killed, each of its connectors is polled again within 20 s."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=3, connectors=12)
        await it.shared(3)
        await it.polled(names)
        victim = it.polls[-1].pod
        fences = {poll.connector: poll.fence for poll in it.polls if poll.pod == victim}
        killed = time.monotonic()
        await asyncio.to_thread(kubelet.kill, victim, namespace)
        moved = await until(lambda: _moved(it, fences))
        assert max(moved.values()) - killed <= BOUND
        await it.shared(3)
        await it.polled(names)
        it.check()
        await it.check_records(names, twice=3)


def _moved(it: GroupBed, fences: dict[str, int]) -> dict[str, float] | None:
    """Return when each connector was polled first under a later lease, once all were."""
    first: dict[str, float] = {}
    for poll in it.polls:
        if poll.fence > fences.get(poll.connector, 1 << 60):
            first.setdefault(poll.connector, poll.at)
    return first if len(first) == len(fences) else None


async def test_a_pod_that_is_gone(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """One that is deleted without a grace is replaced, and its share is with others or with the new one in time."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=2, connectors=6)
        await it.shared(2)
        await it.polled(names)
        victim = it.polls[-1].pod
        fences = {poll.connector: poll.fence for poll in it.polls if poll.pod == victim}
        killed = time.monotonic()
        await it.bed.client.delete(Pod, victim, grace_period=0)
        moved = await until(lambda: _moved(it, fences))
        assert max(moved.values()) - killed <= BOUND
        await until(lambda: _others(it, victim))
        await it.shared(2)
        await it.polled(names)
        it.check()
        # Its membership goes with it.
        await until(lambda: _memberships(it, 2))
        await it.check_records(names, twice=3)


async def _others(it: GroupBed, victim: str) -> bool:
    return victim not in await it.pods()


async def _memberships(it: GroupBed, count: int) -> bool:
    return len(await it.objects(Lease, group_owner(GROUP, "member"))) == count


async def test_a_pod_that_is_frozen(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Stopped for longer than its leases, then awake again, it sends and stores nothing of what it had."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=2, connectors=8)
        await it.shared(2)
        await it.polled(names)
        victim = it.polls[-1].pod
        mine = {poll.connector: poll.fence for poll in it.polls if poll.pod == victim}
        (process,) = kubelet.processes(victim, namespace).values()
        stopped = time.monotonic()
        os.kill(process, signal.SIGSTOP)
        try:
            moved = await until(lambda: _moved(it, mine))
            assert max(moved.values()) - stopped <= BOUND
            await it.polled(names)
        finally:
            os.kill(process, signal.SIGCONT)
        before = len(it.polls)
        await it.shared(2)
        await it.polled(names)
        # It is the same process, and polls again what others have given to it since.
        assert kubelet.processes(victim, namespace) == {CONTAINER: process}
        assert {poll.fence > mine.get(poll.connector, 0) for poll in it.polls[before:]} == {True}
        await until(lambda: any(poll.pod == victim for poll in it.polls[before:]))
        it.check()
        await it.check_records(names, twice=3)


async def test_more_pods_fewer_pods_and_other_pods(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """Shares follow the number of pods, and a rollout hands everything over: nothing comes twice or goes missing."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=2, connectors=8)
        await it.shared(2)
        await it.scale(4)
        assert sorted((await it.shared(4)).values()) == [3, 3, 3, 3]
        await it.scale(1)
        await it.shared(1)
        await it.polled(names)
        (old,) = await it.pods()
        began = time.monotonic()
        annotation = {"metadata": {"annotations": {RESTARTED: "now"}}}
        await it.bed.client.patch(Deployment, GROUP, {"spec": {"template": annotation}})
        await until(lambda: _others(it, old))
        await it.shared(1)
        await it.polled(names)
        it.check()
        # Whoever leaves gives back what is drained, so nobody waits for a lease to end.
        for name in names:
            times = [poll.at for poll in it.polls if poll.connector == name and poll.at >= began]
            assert max(after - before for before, after in pairwise(times)) < Terms().duration
        await it.check_records(names, twice=0)


async def test_connectors_come_change_and_go(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """ConfigMaps are obeyed as they change; one that is wrong is told of by its slot's lease and touches no other."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        names = await it.make(replicas=2, connectors=4)

        async def told(name: str, phase: Phase, reason: str = "") -> None:
            async def so() -> bool:
                now = (await it.states()).get(name, Told(Phase.INIT))
                return now.status is phase and reason in now.reason

            await until(so, f"{name} is {phase}")

        def count(name: str) -> int:
            return sum(poll.connector == name for poll in it.polls)

        for name in names:
            await told(name, Phase.RUNNING)
        # Paused, and resumed where it was.
        await it.patch("c0", {"metadata": {"annotations": {PAUSED: "true"}}})
        await told("c0", Phase.PAUSED)
        before = count("c0")
        await it.polled(["c1", "c2", "c3"])
        assert count("c0") == before
        await it.patch("c0", {"metadata": {"annotations": {PAUSED: None}}})
        await it.polled(["c0"])
        # Another version goes on from the checkpoint.
        await it.replaced(it.definition("c1", "  timeout: 9s\n"))
        await it.polled(["c1"])
        # One that is wrong: the version before goes on, and so do the others.
        await it.patch("c2", {"data": {"connect.yml": "name: c2\nnonsense: true\n"}})
        await told("c2", Phase.INVALID, "the version before goes on")
        await it.polled(names)
        # A new one that is wrong, and one whose Secret is not there.
        wrong = render_member(it.definition("wrong"), GROUP)
        wrong[-1]["data"]["connect.yml"] = "name: [\n"
        await it.apply(*wrong)
        await told("wrong", Phase.INVALID)
        more = '  headers: {x: "${{ secrets.TOKEN }}"}\n'
        lacking = render_member(it.definition("lacking", more, TOKEN="hush-hush"), GROUP)
        await it.apply(*(one for one in lacking if one["kind"] != "Secret"))
        await told("lacking", Phase.PENDING, "Secret")
        await it.apply(*lacking)
        await told("lacking", Phase.RUNNING)
        await until(lambda: any(got.header("x") == "hush-hush" for got in it.bed.server.received))
        # Gone.
        await it.bed.client.delete(ConfigMap, member_name("c3"))
        await until(lambda: _untold(it, "c3"))
        before = count("c3")
        await it.polled(["c0", "c1", "c2"])
        assert count("c3") == before
        it.check()
        assert "hush" not in str(await it.states())
        await it.check_records(names, twice=0)


async def test_the_api_server_is_away(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """For all: polls end with the leases, and go on when it is back. For one: others have its share, and it waits."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        # So many that each pod surely has some, whichever slots it takes.
        names = [f"c{number}" for number in range(24)]
        for name in names:
            await it.apply(*render_member(it.definition(name), GROUP))
        async with working(it, "one", tmp_path) as one, working(it, "two", tmp_path) as two:
            await until(lambda: {poll.pod for poll in it.polls[-20:]} == {"one", "two"})
            await it.polled(names)
            away = time.monotonic()
            one.line.cut()
            two.line.cut()
            await it.polled(names)
            await until(lambda: time.monotonic() - it.polls[-1].at > 2)
            assert it.polls[-1].at - away < Terms().duration
            one.line.mend()
            two.line.mend()
            await it.polled(names)
            await until(lambda: {poll.pod for poll in it.polls[-20:]} == {"one", "two"})

            fences = {poll.connector: poll.fence for poll in it.polls if poll.pod == "one"}
            one.line.cut()
            away = time.monotonic()
            moved = await until(lambda: _moved(it, fences))
            assert max(moved.values()) - away <= BOUND
            assert {poll.pod for poll in it.polls if poll.at > max(moved.values())} <= {"two"}
            one.line.mend()
            await until(lambda: any(poll.pod == "one" for poll in it.polls[-20:]))
            await it.polled(names)
        # Both have given everything back.
        assert await it.holders() == {}
        assert await _memberships(it, 0)
        it.check()
        await it.check_records(names, twice=3)


async def test_another_number_of_slots_is_refused(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """A worker that was told another number than the group has works on nothing, and says so."""
    async with group_bed(cluster, namespace, tmp_path) as it:
        await it.apply(*render_member(it.definition("c0"), GROUP))
        async with working(it, "one", tmp_path):
            await it.polled(["c0"])
            async with working(it, "odd", tmp_path, slots=SLOTS + 1) as odd:
                await until(lambda: "its leases are of 12 slots" in odd.said())
                await it.polled(["c0"])
                assert await _memberships(it, 1)
            assert {poll.pod for poll in it.polls} == {"one"}
        it.check()


async def _untold(it: GroupBed, name: str) -> bool:
    return name not in await it.states()
