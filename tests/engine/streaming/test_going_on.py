"""Where a stream goes on: behind the last event, or cursor, after a connection, a stop, a kill, a new configuration."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from engine.streaming.streamed import SSE, Outlet, decisions, streamed
from headwater.core.exchange import Decision
from headwater.testing import Answer, Received, ScriptedServer


def event(number: int) -> bytes:
    return b"id: %d\ndata: %d\n\n" % (number, number)


async def test_the_last_id_is_sent_after_a_connection_a_stop_and_a_kill(tmp_path: Path) -> None:
    """Also that of an event that was no record; nothing is sent before there is one."""
    options = {"format": "sse"}
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config(options)):
            line = await outlet.next()
            assert line.request.header("last-event-id") is None
            assert line.request.header("accept") == "text/event-stream"
            assert line.request.header("cache-control") == "no-store"
            # The event that has begun is none yet, whatever its id.
            await line.say(event(1) + b"id: 2\n\nid: 3\ndata: half\n")
            await it.values(count=1)
            await line.reset()
            await it.reconnect()
            line = await outlet.next()
            assert line.request.header("last-event-id") == "2"
            await line.say(event(3))
            await it.values(count=2)
        it.new_engine()
        kill = await it.cut_off(it.config(options))
        line = await outlet.next()
        assert line.request.header("last-event-id") == "3"
        await line.say("id: ä€\ndata: 4\n\n".encode())
        await it.values(count=3)
        await it.until(lambda: it.stream().checkpoint.records == 3)
        await kill()
        it.new_engine()
        async with it.running(it.config(options)):
            line = await outlet.next()
            header = line.request.header("last-event-id")
            assert header is not None
            assert header.encode("latin-1").decode() == "ä€"


async def test_an_id_goes_to_nobody_else(tmp_path: Path) -> None:
    """Another endpoint, topic or choice is not told of it; another key, or release, is no other stream."""
    async with streamed(tmp_path) as it:
        mine, other = it.outlet("/x", SSE), it.outlet("/y", SSE)

        async def asked(outlet: Outlet, http: dict[str, Any], meta: dict[str, Any] | None = None) -> str | None:
            it.new_engine()
            async with it.running(it.config({"format": "sse", **http}, meta=meta)):
                line = await outlet.next()
                await line.say(event(7))
                await it.until(lambda: it.engine.figures.of("cats").records == 1)
            return line.request.header("last-event-id")

        assert await asked(mine, {}) is None
        assert await asked(mine, {"user_agent": "another/2"}) == "7"
        assert await asked(mine, {"headers": {"Authorization": "Bearer a"}}) == "7"
        assert await asked(mine, {"headers": {"Authorization": "Bearer b"}}) == "7"
        assert await asked(other, {"endpoint": f"{it.server.url}/y"}) is None
        assert await asked(mine, {}) is None
        assert await asked(mine, {}, {"topic": "dogs"}) is None
        assert await asked(mine, {"headers": {"X-Channel": "b"}}) is None


async def test_an_id_does_not_cross_to_another_origin(tmp_path: Path) -> None:
    """A redirect to another host is followed, as by every client; a new configuration's is not told of what was."""
    async with streamed(tmp_path) as it, ScriptedServer() as there:
        outlet = Outlet(SSE)
        there.route("/there", outlet)
        it.server.route("/x", Answer(307, headers=(("location", f"{there.url}/there"),)))
        async with it.running(it.config({"format": "sse"})):
            line = await outlet.next()
            await line.say(event(1))
            assert await it.values(count=1) == [b"1"]


async def test_retry_is_the_shortest_pause(tmp_path: Path) -> None:
    """What the server says counts from then on, after a restart as well."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse"})):
            line = await outlet.next()
            await line.say(b"retry: 7000\n\n" + event(1))
            await it.values(count=1)
            await line.end()
            assert await it.reconnect() == pytest.approx(7, abs=0.01)
            await outlet.next()
        assert (await it.position()).retry == 7000


async def test_204_is_the_end(tmp_path: Path) -> None:
    """The server says that there is no more: the stream is over, says why, and ends at once when it is to stop."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(204))
        async with it.running(it.config({"format": "sse"})):
            await it.until(lambda: it.engine.figures.of("cats").trouble is not None)
            trouble = it.engine.figures.of("cats").trouble
            assert trouble is not None
            assert trouble.reason == "204 No Content: the server says that the stream is over"
            assert it.stream().finished
            await it.calm()
            it.clock.advance(100_000)
            await it.calm()
            assert it.stream().next_poll() is None
        assert len(it.server.received) == 1
        assert decisions(await it.entries(1)) == ["failed"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", ""])
async def test_what_is_no_event_stream(tmp_path: Path, kind: str) -> None:
    """Another media type is refused, unless the configuration accepts it."""
    async with streamed(tmp_path) as it:
        headers = (("content-type", kind),) if kind else ()
        it.server.route("/x", Answer(200, b"data: a\n\n", headers))
        async with it.running(it.config({"format": "sse"})):
            (entry,) = await it.entries(1)
            assert entry.decision is Decision.FAILED
            assert "instead of text/event-stream" in entry.reason
        if kind:
            it.new_engine()
            accepted = it.config({"format": "sse", "accept_content_type": kind.partition(";")[0]})
            async with it.running(accepted):
                assert await it.values(count=1) == [b"a"]


async def test_a_login_page_instead_of_what_came_before(tmp_path: Path) -> None:
    """HTML where there was something else is refused, as for polls, and goes to no topic."""
    async with streamed(tmp_path) as it:
        lines = Answer(200, b"a\n", (("content-type", "text/plain"),))
        page = Answer(200, b"<html>\nlog in\n</html>", (("content-type", "text/html"),))
        it.server.route("/x", lines, page)
        async with it.running(it.config()):
            await it.values(count=1)
            await it.reconnect()
            await it.until(lambda: len(it.server.received) == 2)
            await it.entries(4)
        assert await it.values() == [b"a"]
        assert "text/html where it answered text/plain before" in it.ledger()[-1].reason


async def test_cursors_go_on_in_the_next_connection(tmp_path: Path) -> None:
    """In the endpoint, parameters, headers and body; `initial` and `default` before there are values."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        options = {
            "endpoint": f"{it.server.url}/x?from=${{{{ cursor.seq | default('0') }}}}",
            "method": "POST",
            "params": {"since": "${{ cursor.seq | default(null) }}"},
            "headers": {"X-Since": "${{ cursor.at }}"},
            "body": {"after": "${{ cursor.seq | default(null) }}"},
            "format": "ndjson",
            "cursor": {"seq": {"from": "/seq"}, "at": {"from": "/at", "initial": "2024-01-01T00:00:00Z"}},
        }

        def told(request: Received) -> list[Any]:
            query = request.query
            return [query.get("from"), query.get("since"), request.header("x-since"), json.loads(request.body)["after"]]

        async with it.running(it.config(options)):
            line = await outlet.next()
            assert told(line.request) == ["0", None, "2024-01-01T00:00:00Z", None]
            await line.say(b'{"seq":1,"at":"2024-01-02T00:00:00Z"}\n{"seq":2,"at":"2024-01-03T00:00:00Z"}\n')
            await it.values(count=2)
            await line.end()
            await it.reconnect()
            line = await outlet.next()
            assert told(line.request) == ["2", "2", "2024-01-03T00:00:00Z", 2]
            await line.say(b'{"seq":3,"at":"2024-01-04T00:00:00Z"}\n')
            await it.values(count=3)
        it.new_engine()
        async with it.running(it.config(options)):
            line = await outlet.next()
            assert told(line.request) == ["3", "3", "2024-01-04T00:00:00Z", 3]


async def test_position_and_records_are_stored_together(tmp_path: Path) -> None:
    """Whenever one looks, the checkpoint is that of the last record."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse"})):
            line = await outlet.next()
            telling = asyncio.ensure_future(_tell(line.say, 3000))
            seen = 0
            while seen < 3000:
                await asyncio.sleep(0.002)
                checkpoint = await it.checkpoint()
                count = len(await it.records())
                assert checkpoint.stream is None or int(checkpoint.stream.event_id or 0) == checkpoint.records
                assert seen <= checkpoint.records <= count
                seen = checkpoint.records
            await telling
        assert await it.values() == [b"%d" % number for number in range(1, 3001)]


async def _tell(say: Any, most: int) -> None:
    for number in range(1, most + 1, 10):
        await say(b"".join(event(one) for one in range(number, number + 10)))
        await asyncio.sleep(0)
