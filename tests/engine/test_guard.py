"""Permits: without one nothing is sent and nothing is stored, whenever it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import chain, repeat
from pathlib import Path

import msgspec
import pytest

from engine.faraway import Faraway, faraway
from headwater.cluster import Cluster
from headwater.cluster import Target as Whither
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.errors import FetchError, HeadwaterError
from headwater.core.http import Request, Response
from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.engine import Engine
from headwater.engine.checkpoints import TOPIC, Checkpoints, Kept, newest
from headwater.engine.guard import Guard, GuardedFetcher, Permit
from headwater.engine.oncluster import OnCluster
from headwater.fetch import CurlFetcher
from headwater.fluvio.batch import encode_batch
from headwater.fluvio.compression import Compression
from headwater.log import Append
from headwater.testing import Answer, ScriptedServer

FOREVER = 1e9


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


def get(url: str, permit: Callable[[], bool] | None = None) -> Request:
    return Request("GET", url, url, permit=permit)


def test_a_permit_that_has_ended_stays_ended() -> None:
    """It holds until its time, can be extended before, and never after, whatever the clock says then."""
    watch = Watch()
    permit = Permit(3, 10, watch)
    watch.now = 9.9
    assert permit.holds()
    permit.extend(12)
    permit.extend(11)
    watch.now = 11.9
    assert permit.holds()
    watch.now = 12
    assert not permit.holds()
    permit.extend(20)
    watch.now = 11
    assert not permit.holds()
    revoked = Permit(3, 10, watch)
    revoked.revoke()
    assert not revoked.holds()


async def test_nothing_is_sent_over_a_connection_that_came_too_late() -> None:
    """The permit is asked again when the connection is there: a process may have stood still while it was opened."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"a"))
        asked: list[bool] = []

        def never() -> bool:
            asked.append(False)
            return False

        with pytest.raises(FetchError):
            await fetcher.fetch(get(url, never))
        assert asked == [False]
        assert server.received == []
        assert (await fetcher.fetch(get(url, lambda: True))).body == b"a"


async def test_a_redirect_is_another_request() -> None:
    """When the permit ends between two hops, the second one is not sent."""
    permit = Permit(1, FOREVER, lambda: 0)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        server.route("/there", Answer(body=b"a"))

        def moved(_: object) -> Answer:
            permit.revoke()
            return Answer(302, headers=(("location", "/there"),))

        with pytest.raises(FetchError):
            await fetcher.fetch(get(server.route("/here", moved), permit.holds))
        assert [it.path for it in server.received] == ["/here"]


async def test_a_guarded_fetcher_calls_nobody_back_without_leave() -> None:
    """Neither when nothing was begun, nor with an answer that came after the permit had ended."""
    permit = Permit(1, FOREVER, lambda: 0)
    heard: list[Response | FetchError] = []
    answered = asyncio.Event()

    async def revoke() -> None:
        permit.revoke()
        answered.set()

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        guarded = GuardedFetcher(fetcher, permit)
        good = get(server.route("/good", Answer(body=b"a")))
        for number in (1, 2):
            guarded.begin(good, heard.append)
            await Faraway.until(lambda number=number: len(heard) == number)  # type: ignore[misc]
        assert server.connections == 1
        guarded.begin(get(server.route("/late", Answer(body=b"b", wait=revoke))), heard.append)
        async with asyncio.timeout(10):
            await answered.wait()
        guarded.begin(good, heard.append).cancel()
        # Another exchange on the same connection is behind whatever came of those.
        await fetcher.fetch(get(server.route("/end", Answer(body=b"c"))))
        assert len(heard) == 2
        assert [it.path for it in server.received] == ["/good", "/good", "/late", "/end"]


@asynccontextmanager
async def pod(it: Faraway, guard: Guard) -> AsyncIterator[tuple[Engine, OnCluster, Checkpoints]]:
    """Open what one process of several has."""
    async with (
        Cluster(Whither("127.0.0.1", it.ports[0])) as cluster,
        Checkpoints(cluster) as kept,
        OnCluster(cluster, it.keeper, [], checkpoints=kept, guard=guard) as target,
    ):
        engine = Engine(target, it.fetcher, clock=it.clock, chance=lambda: 0.5, grace=5, guard=guard)
        try:
            yield engine, target, kept
        finally:
            await engine.drain(0)


async def start(it: Faraway, engine: Engine, target: OnCluster) -> None:
    config = it.config()
    target.expect(config)
    await engine.prepare([config])
    await engine.start([config])


async def test_a_connector_whose_permit_ends_does_nothing_more(tmp_path: Path) -> None:
    """It polls and stores no more; ended and forgotten, it goes on under the next permit from what is stored."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        watch = Watch()
        permits = {"cats": Permit(5, 10, watch)}
        async with pod(it, permits.get) as (engine, target, _):
            await start(it, engine, target)
            await it.polls(2)
            watch.now = 10
            await it.clock.next_wake()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await it.clock.sleeping()
            assert len(it.server.received) == 2
            await engine.end(["cats"], grace=0)
            await target.abandon(["cats"])
            permits["cats"] = Permit(6, 100, watch)
            await start(it, engine, target)
            await it.polls(1)
        assert await it.values() == [b"0", b"1", b"2"]
        kept = newest(await it.records(TOPIC), {"cats"})["cats"]
        assert kept.age == (6, 2, kept.sequence)


async def test_without_a_permit_nothing_is_started(tmp_path: Path) -> None:
    """A connector whose slot was lost while it was prepared does not begin."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        async with pod(it, lambda _: None) as (engine, target, _):
            await start(it, engine, target)
            assert engine.runs() == {}


async def test_no_checkpoint_is_kept_of_records_that_went_before_the_permit_ended(tmp_path: Path) -> None:
    """Of an append under way only what had gone is there; its checkpoint is not kept, and nobody is called back."""
    async with faraway(tmp_path) as it:
        permit = Permit(5, FOREVER, lambda: 0)
        heard: list[Receipt | HeadwaterError] = []
        async with pod(it, {"cats": permit}.get) as (engine, target, kept):
            await engine.prepare([it.config()])
            await target.checkpoint("cats")
            append = Append(None, (), None, ("cats", encode_checkpoint(Checkpoint(7))), None)
            target.store(append, heard.append)
            permit.revoke()
            target.store(append, heard.append)
            await target.abandon(["cats"])
            assert await kept.load("cats", 6) is None
        assert heard == []


async def test_records_are_not_sent_when_the_way_was_open_too_late(tmp_path: Path) -> None:
    """The permit is asked again once there is a producer, and nobody is called back."""
    async with faraway(tmp_path) as it:
        times = chain([0.0], repeat(2.0))
        permit = Permit(5, 1, lambda: next(times))
        heard: list[Receipt | HeadwaterError] = []
        async with pod(it, {"cats": permit}.get) as (engine, target, _):
            await engine.prepare([it.config()])
            batch = encode_batch([Record(b"late")], 0, Compression.NONE)
            target.store(Append("cats", (batch,), None, None, None), heard.append)
            checkpoint = ("cats", encode_checkpoint(Checkpoint(7)))
            target.store(Append("cats", (batch,), None, checkpoint, None), heard.append)
            await asyncio.gather(*target._tasks)
            assert await it.values() == []
        assert heard == []


async def test_of_two_that_claim_at_once_the_later_holder_counts(tmp_path: Path) -> None:
    """An older one that was stopped between reading and claiming hides nothing, however much it writes."""
    async with faraway(tmp_path) as it:
        async with (
            Cluster(Whither("127.0.0.1", it.ports[0])) as cluster,
            Checkpoints(cluster) as new,
        ):
            await new.load("cats", 7)
            await new.keep("cats", b'{"exchanges":1}')
            topic = await it.log.topic(TOPIC)
            late = Kept(1, 50, msgspec.Raw(b'{"exchanges":99}'), 6)
            await topic.append([Record(msgspec.json.encode(late), b"cats")])
        async with (
            Cluster(Whither("127.0.0.1", it.ports[0])) as cluster,
            Checkpoints(cluster) as next_one,
        ):
            assert await next_one.load("cats", 8) == b'{"exchanges":1}'


def test_a_fence_never_falls() -> None:
    """Leases that are made anew begin at 1, and a connector may leave its group: what is kept then still counts."""
    group = Kept(4, 9, fence=12)
    for fence in (0, 1):
        assert group.claimed(fence).age > group.following(b"{}").age
    assert group.claimed(13).fence == 13


async def test_nothing_is_said_over_a_connection_once_the_permit_has_ended() -> None:
    """A WebSocket that was there before may still be heard, and nobody speaks over it any more."""
    said: list[bytes] = []

    class Fetching:
        unsent = 3

        def cancel(self) -> None:
            said.append(b"cancel")

        def resume(self) -> None:
            said.append(b"resume")

        def send(self, data: bytes) -> None:
            said.append(data)

    class Fetcher:
        def begin(self, request: Request, deliver: object) -> Fetching:
            return Fetching()

    permit = Permit(1, FOREVER, Watch())
    request = msgspec.structs.replace(get("http://a/"), stream=True, upgrade=True)
    fetching = GuardedFetcher(Fetcher(), permit).begin(request, lambda _: None)
    fetching.send(b"one")
    permit.revoke()
    fetching.send(b"two")
    fetching.resume()
    fetching.cancel()
    assert (said, fetching.unsent) == ([b"one", b"resume", b"cancel"], 3)
