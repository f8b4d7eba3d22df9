"""The worker of a group in the test's own process: a real API server, a real Fluvio cluster, and no pods."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap
from structlog.testing import capture_logs

from headwater.cluster import Cluster as FluvioCluster
from headwater.cluster import Target
from headwater.core.errors import ConnectorError, ManagerError
from headwater.core.managed import Phase
from headwater.engine import Engine
from headwater.engine.checkpoints import Checkpoints
from headwater.engine.guard import GuardedFetcher
from headwater.engine.oncluster import OnCluster
from headwater.fetch import CurlFetcher
from headwater.kubernetes.group.api import GroupApi, Self, opened
from headwater.kubernetes.group.claims import Act, Claims, Request, Standing
from headwater.kubernetes.group.members import Told
from headwater.kubernetes.group.render import render_member
from headwater.kubernetes.group.slots import slot_of
from headwater.kubernetes.group.worker import Worker, lease_clock
from headwater.kubernetes.names import PAUSED, group_owner, member_name
from headwater.kubernetes.options import Options
from headwater.log import Log
from kubernetes import telling
from kubernetes.cluster import Cluster
from kubernetes.connectors import until
from kubernetes.groups import GROUP, SLOTS, GroupBed, Line, group_bed


@pytest.fixture
def place(cluster: Cluster) -> Iterator[str]:
    """Return a new namespace, on no node."""
    name = cluster.make_namespace()
    yield name
    cluster.delete_namespace(name)


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedFetcher, "begin", telling.begin)
    monkeypatch.setenv("POD_NAME", "here")


class Here:
    """A worker in this process."""

    def __init__(self, worker: Worker, claims: Claims, task: asyncio.Task[None], stop: asyncio.Event) -> None:
        self.worker = worker
        self.claims = claims
        self.task = task
        self.stop = stop


@asynccontextmanager
async def working(it: GroupBed, directory: Path, options: Options | None = None) -> AsyncIterator[Here]:
    """Run a worker until the block is left; it gives everything back then."""
    async with AsyncExitStack() as stack:
        me = Self(f"here_{secrets.token_hex(4)}", "here")
        keeper = await stack.enter_async_context(Log.open(directory / me.identity))
        fetcher = await stack.enter_async_context(CurlFetcher())
        api = await stack.enter_async_context(opened(options or it.bed.options(), GROUP, SLOTS, me))
        fluvio = await stack.enter_async_context(FluvioCluster(Target("127.0.0.1", it.bed.fluvio.sc_port)))
        claims = Claims(me.identity, SLOTS, lease_clock)
        worker = Worker(api, claims, grace=5)
        kept = await stack.enter_async_context(Checkpoints(fluvio))
        target = await stack.enter_async_context(OnCluster(fluvio, keeper, [], checkpoints=kept, guard=worker.guard))
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(Engine(target, fetcher, grace=5, guard=worker.guard), target, stop))
        try:
            yield Here(worker, claims, task, stop)
        finally:
            stop.set()
            await task


async def told(it: GroupBed, name: str, phase: Phase, reason: str = "") -> None:
    """Wait until this is told of a connector."""

    async def so() -> bool:
        now = (await it.states()).get(name, Told(Phase.INIT))
        return now.status is phase and reason in now.reason

    await until(so, f"{name} is {phase}")


async def test_connectors_come_and_go(cluster: Cluster, place: str, tmp_path: Path) -> None:
    """They start, change, pause and end as their ConfigMaps say; what is wrong with one touches no other."""
    async with group_bed(cluster, place, tmp_path) as it:
        await it.apply(*render_member(it.definition("c0"), GROUP))
        async with working(it, tmp_path) as here:
            assert here.worker.wanted() == [GROUP]
            await it.polled(["c0"])
            assert here.worker.wanted() == []
            await it.apply(*render_member(it.definition("c1"), GROUP))
            missing = render_member(it.definition("c2", "create_topic: false\n"), GROUP)
            await it.apply(*missing)
            await told(it, "c1", Phase.RUNNING)
            await told(it, "c2", Phase.INVALID, "there is no topic 'c2'")
            # Several at once, one of them wrong, are found by halves.
            more = '  headers: {x: "${{ secrets.TOKEN }}"}\n'
            for name in ("c3", "c4", "c5"):
                objects = render_member(it.definition(name, more, TOKEN="hush"), GROUP)
                await it.apply(*(objects if name != "c4" else (one for one in objects if one["kind"] != "Secret")))
            await told(it, "c3", Phase.RUNNING)
            await told(it, "c5", Phase.RUNNING)
            await told(it, "c4", Phase.PENDING, "there is no Secret c4-secrets-")
            # Another version, one that cannot run, one of another name, and the first again.
            await it.replaced(it.definition("c1", "  timeout: 9s\n"))
            await it.patch("c1", {"data": {"connect.yml": "name: c1\nnonsense: 1\n"}})
            await told(it, "c1", Phase.INVALID, "the version before goes on")
            await it.patch("c1", {"data": {"connect.yml": it.definition("other").text}})
            await told(it, "c1", Phase.INVALID, "its text names the connector other; the version before goes on")
            nowhere = it.definition("c1", "create_topic: false\n").text.replace("topic: c1", "topic: none")
            await it.patch("c1", {"data": {"connect.yml": nowhere}})
            await told(it, "c1", Phase.INVALID, "there is no topic 'none'")
            await it.polled(["c0", "c1"])
            await it.apply(*render_member(it.definition("c1"), GROUP))
            await told(it, "c1", Phase.RUNNING)
            await it.patch("c0", {"metadata": {"annotations": {PAUSED: "true"}}})
            await told(it, "c0", Phase.PAUSED)
            assert here.worker.guard("c0") is None
            await it.bed.client.delete(ConfigMap, member_name("c0"))
            await until(lambda: _untold(it, "c0"))
            # What carries the labels and is no connector of ours is passed over.
            stray = render_member(it.definition("stray"), GROUP)[-1]
            stray["metadata"]["name"] = "another"
            await it.apply(stray)
            await it.polled(["c1", "c3"])
        assert await it.holders() == {}
        assert await it.objects(Lease, group_owner(GROUP, "member")) == []
        it.check()


async def _untold(it: GroupBed, name: str) -> bool:
    return name not in await it.states()


async def test_two_share(cluster: Cluster, place: str, tmp_path: Path) -> None:
    """The second has half of the slots a moment later, and gives them back when it leaves."""
    async with group_bed(cluster, place, tmp_path) as it:
        names = [f"c{number}" for number in range(6)]
        for name in names:
            await it.apply(*render_member(it.definition(name), GROUP))
        async with working(it, tmp_path) as one:
            await it.polled(names)
            async with working(it, tmp_path) as two:
                await until(lambda: _held(one) == _held(two) == SLOTS // 2)
                await it.polled(names)
            await until(lambda: _held(one) == SLOTS)
            await it.polled(names)
        it.check()
        await it.check_records(names, twice=0)


def _held(here: Here) -> int:
    return sum(here.claims.standing(slot) is Standing.HELD for slot in range(SLOTS))


async def test_without_the_api_server(cluster: Cluster, place: str, tmp_path: Path) -> None:
    """Polls end with the lease, which is said once; when it is back they go on, and so does the watch."""
    async with group_bed(cluster, place, tmp_path) as it, Line(urlsplit(cluster.url).port or 443) as line:
        await it.apply(*render_member(it.definition("c0"), GROUP))
        path = tmp_path / "kubeconfig"
        path.write_text(cluster.kubeconfig.read_text().replace(cluster.url, f"https://127.0.0.1:{line.port}"))
        with capture_logs() as logs:
            async with working(it, tmp_path, it.bed.options(kubeconfig=path)) as here:
                await it.polled(["c0"])
                line.cut()
                slot = slot_of("c0", SLOTS)
                await until(lambda: here.claims.standing(slot) is Standing.IDLE)
                seen = len(it.polls)
                await it.apply(*render_member(it.definition("c1"), GROUP))
                line.mend()
                await it.polled(["c0", "c1"])
                fences = {poll.fence for poll in it.polls[seen:] if poll.connector == "c0"}
                assert len(fences) == 1
        said = [entry["event"] for entry in logs]
        assert said.count("the API server does not do what was asked; polls go on as long as leases hold") == 1
        assert said.count("the API server answers again") == 1


async def test_what_is_refused(cluster: Cluster, place: str, tmp_path: Path) -> None:
    """Who may not, a version that is old, a lease that is there already, one that is gone: each is told apart."""
    async with group_bed(cluster, place, tmp_path) as it:
        me = Self("here_1", "here")

        def request(act: Act, version: str = "", slot: int | None = 0) -> Request:
            return Request(act, slot, version, 1, 0.0, 0)

        async with opened(it.bed.options(), GROUP, SLOTS, me) as api:
            taken = await api.change(request(Act.TAKE), 10, "{}", 5)
            assert taken is not None
            assert (taken.holder, taken.duration, taken.transitions) == ("here_1", 10, 1)
            assert await api.change(request(Act.TAKE), 10, "{}", 5) is None
            renewed = await api.change(request(Act.RENEW, taken.version), 10, "{}", 5)
            assert renewed is not None
            assert await api.change(request(Act.RENEW, taken.version), 10, "{}", 5) is None
            joined = await api.change(request(Act.JOIN, slot=None), 10, "", 5)
            assert joined is not None
            slots, members = await api.leases(5)
            assert slots == {0: renewed}
            assert members == {"here_1": joined.version}
            for _ in range(2):
                assert await api.change(request(Act.LEAVE, slot=None), 10, "", 5) is not None
            released = await api.change(request(Act.RELEASE, renewed.version), 10, "", 5)
            assert released is not None
            assert (released.holder, released.transitions) == ("", 1)
            with pytest.raises(ConnectorError, match="there is no Secret nothing"):
                await api.secret("nothing")
        async with opened(it.bed.options(), GROUP, SLOTS + 1, me) as odd:
            with pytest.raises(Exception, match="its leases are of 12 slots, and this process was told 13"):
                await odd.leases(5)
        wrong = it.bed.options(kubeconfig=cluster.kubeconfig_of("wrong", place))
        async with opened(wrong, GROUP, SLOTS, me) as stranger:
            asked = (stranger.leases(5), stranger.change(request(Act.TAKE), 10, "", 5), stranger.secret("nothing"))
            for ask in asked:
                with pytest.raises(ManagerError, match="does not know who asks"):
                    await ask
            with pytest.raises(ManagerError, match="cannot watch the connectors of group feeds"):
                await anext(stranger.changes("0"))
        async with Line(1) as line:
            line.cut()
            path = tmp_path / "nowhere"
            path.write_text(cluster.kubeconfig.read_text().replace(cluster.url, f"https://127.0.0.1:{line.port}"))
            async with opened(it.bed.options(kubeconfig=path), GROUP, SLOTS, me) as nowhere:
                assert isinstance(nowhere, GroupApi)
                with pytest.raises(ManagerError, match="cannot read the leases of group feeds"):
                    await nowhere.leases(5)
                with pytest.raises(ManagerError, match="cannot take a lease of group feeds"):
                    await nowhere.change(request(Act.TAKE), 10, "", 5)
                with pytest.raises(ManagerError, match="cannot watch the connectors of group feeds"):
                    await anext(nowhere.changes(""))
