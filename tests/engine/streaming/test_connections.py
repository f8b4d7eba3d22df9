"""Connections that end, or never are there: pauses, time-outs, refusals, and what is said of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.streaming.streamed import SSE, Outlet, Streamed, decisions, streamed
from headwater.core.exchange import Decision
from headwater.core.managed import Phase
from headwater.testing import Answer, Received, ScriptedServer


async def pauses(it: Streamed, count: int) -> list[float]:
    """Let so many connections follow; return for how long the stream waited for each."""
    found = []
    for _ in range(count):
        asked = len(it.server.received)
        found.append(await it.reconnect())
        await it.until(lambda asked=asked: len(it.server.received) > asked)  # type: ignore[misc]
        await it.until(lambda: it.stream().next_poll() is not None)
    return [round(pause, 2) for pause in found]


@pytest.mark.parametrize("chance", [0.0, 0.5])
@pytest.mark.parametrize(
    "answer",
    [Answer(503), Answer(cut=-1, reset=True), Answer(body=b""), Answer(body=b"a line\n"), Answer(404)],
    ids=["503", "reset", "nothing", "line", "404"],
)
async def test_pauses_grow(tmp_path: Path, answer: Answer, chance: float) -> None:
    """Whatever ends at once is asked again after growing pauses with chance in them, up to the longest: no loop."""
    async with streamed(tmp_path) as it:
        it.chance = chance
        it.server.route("/x", answer)
        options = {"reconnect": {"initial": "1s", "max": "10s"}}
        async with it.running(it.config(options)):
            await it.until(lambda: bool(it.server.received) and it.stream().next_poll() is not None)
            share = 0.5 + chance / 2
            assert await pauses(it, 6) == [pytest.approx(pause * share, abs=0.011) for pause in (1, 2, 4, 8, 10, 10)]
        assert len(it.server.received) == 7


async def test_a_healthy_connection_lets_pauses_begin_anew(tmp_path: Path) -> None:
    """What has lasted for `healthy` is followed soon, however it has ended."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        options = {"reconnect": {"initial": "1s", "max": "60s", "healthy": "20s"}}
        async with it.running(it.config(options)):
            waited = []
            for lasts in (1, 1, 1, 20, 1):
                line = await outlet.next()
                await it.until(lambda: it.engine.figures.of("cats").stream.connected)  # type: ignore[union-attr]
                it.clock.advance(lasts)
                await line.reset()
                waited.append(round(await it.reconnect(), 2))
        assert waited == [0.75, 1.5, 3.0, 0.75, 0.75]


async def test_trouble_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    """A server that says a line and fails, again and again, fills no log; that it does well again is said once."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        with capture_logs() as lines:
            async with it.running(it.config()):
                for number in range(5):
                    line = await outlet.next()
                    await line.say(b"%d\n" % number)
                    await it.values(count=number + 1)
                    await line.reset()
                    await it.reconnect()
                line = await outlet.next()
                await line.say(b"5\n")
                await it.values(count=6)
                assert it.engine.standing("cats", it.clock.time_ms())[0] is Phase.FAILED
                it.clock.advance(31)
                await it.until(lambda: it.engine.figures.of("cats").trouble is None)
                assert it.engine.standing("cats", it.clock.time_ms())[0] is Phase.RUNNING
        assert [line["event"] for line in lines] == ["connector is failing", "connector recovered"]
        assert lines[1]["failures"] == 5
        entries = it.ledger()
    assert decisions(entries).count("failed") == 5
    assert decisions(entries).count("connected") == 6


async def test_one_end_is_no_trouble(tmp_path: Path) -> None:
    """A long connection that breaks, or one that ends properly behind a record, is worth no line."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        with capture_logs() as lines:
            async with it.running(it.config()):
                line = await outlet.next()
                await it.entries(1)
                it.clock.advance(40)
                await line.reset()
                await it.reconnect()
                line = await outlet.next()
                await line.say(b"a\n")
                await it.values(count=1)
                it.clock.advance(2)
                await line.end()
                await it.reconnect()
                await outlet.next()
        assert lines == []


async def test_a_head_that_never_comes(tmp_path: Path) -> None:
    """`timeout` bounds it, in real time; the stream is tried again."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(hang=True))
        async with it.running(it.config({"timeout": "150ms"})):
            (entry,) = await it.entries(1)
            assert entry.decision is Decision.FAILED
            await it.reconnect()
            await it.until(lambda: len(it.server.received) == 2)


async def test_a_silent_connection_is_dead(tmp_path: Path) -> None:
    """Nothing for `idle_timeout`, in real time; what comes drop by drop is not silent."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse", "idle_timeout": "250ms"})):
            line = await outlet.next()
            for _ in range(4):
                await asyncio.sleep(0.1)
                await line.say(b":\n")
            assert not line.gone.is_set()
            entries = await it.entries(2)
            assert decisions(entries) == ["connected", "failed"]
            async with asyncio.timeout(5):
                await line.gone.wait()
            await it.reconnect()
            await outlet.next()


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after(tmp_path: Path, status: int) -> None:
    """It is the shortest pause."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(status, headers=(("retry-after", "120"),)))
        async with it.running(it.config()):
            await it.until(lambda: bool(it.server.received) and it.stream().next_poll() is not None)
            assert await it.reconnect(most=200) == pytest.approx(120, abs=0.01)
            await it.until(lambda: len(it.server.received) == 2)


RULES: list[tuple[dict[str, Any], str, float]] = [
    ({"status": 403, "body": {"/error": "too many"}, "do": "fail", "wait": "5m"}, "failed", 300.0),
    ({"status": 403, "do": "retry"}, "failed", 0.375),
    ({"status": 403, "do": "ignore"}, "empty", 0.375),
]


@pytest.mark.parametrize(("rule", "decision", "wait"), RULES)
async def test_rules_on_refusals(tmp_path: Path, rule: dict[str, Any], decision: str, wait: float) -> None:
    """By status and body, with a wait; what is ignored is no trouble."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer.json({"error": "too many"}, 403))
        with capture_logs() as lines:
            async with it.running(it.config({"rules": [rule]})):
                assert decisions(await it.entries(1)) == [decision]
                assert await it.reconnect(most=400) == pytest.approx(wait, abs=0.01)
        assert len(lines) == (decision == "failed")


async def test_a_refusal_without_content_is_no_trouble(tmp_path: Path) -> None:
    """204 says that there is nothing now; only for events it is the end."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(204))
        with capture_logs() as lines:
            async with it.running(it.config()):
                assert decisions(await it.entries(1)) == ["empty"]
                await it.reconnect()
                await it.until(lambda: len(it.server.received) == 2)
        assert lines == []


async def test_an_accepted_status_is_a_stream(tmp_path: Path) -> None:
    """And what is not accepted is told with the beginning of nothing: no body of a refusal becomes records."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(500, b"line\n"), Answer(404, b"line\n"))
        async with it.running(it.config({"accept_status": [200, 404]})):
            await it.entries(1)
            assert await it.values() == []
            await it.reconnect()
            assert await it.values(count=1) == [b"line"]


async def test_limits_hold_a_connection(tmp_path: Path) -> None:
    """Connections wait for their turn at the rate, and are not asked for while a server wants quiet."""
    async with streamed(tmp_path) as it:
        asked: list[float] = []

        def answer(_: Received) -> Answer:
            asked.append(round(it.clock.monotonic()))
            return Answer(429, headers=(("retry-after", "40"),)) if len(asked) == 3 else Answer(body=b"a\n")

        it.server.route("/x", answer)
        async with it.running(it.config({"limits": {"rate": "1/10s"}})):
            for _ in range(90):
                await it.calm()
                it.clock.advance(1)
        assert asked[:3] == [0, 10, 20]
        assert asked[3] >= 60


async def test_headers_and_body_of_the_request(tmp_path: Path) -> None:
    """A stream may be asked for by any request: method, headers, parameters, form, credentials."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        options = {
            "method": "POST",
            "headers": {"X-A": "b"},
            "params": {"p": "${{ scheduled | unix }}"},
            "body": {"query": "all"},
            "auth": {"type": "basic", "username": "me", "password": "secret"},
        }
        async with it.running(it.config(options)):
            request = (await outlet.next()).request
        assert (request.method, json.loads(request.body)) == ("POST", {"query": "all"})
        assert request.header("x-a") == "b"
        assert request.query["p"] == "1700000000"
        assert (request.header("authorization") or "").startswith("Basic ")


async def test_a_401_renews_once(tmp_path: Path) -> None:
    """A token that is refused is replaced, and the connection asked for at once; a second refusal is a failure."""
    tokens = iter(["one", "two", "three", "four"])
    good = {"two"}
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x")
        handler = outlet.__call__

        def guarded(request: Received) -> Answer:
            token = (request.header("authorization") or "").removeprefix("Bearer ")
            return handler(request) if token in good else Answer(401)

        it.server.route("/x", guarded)
        it.server.route("/token", lambda _: Answer.json({"access_token": next(tokens), "token_type": "bearer"}))
        auth = {
            "type": "oauth2",
            "grant": "client-credentials",
            "token_url": f"{it.server.url}/token",
            "client_id": "me",
            "client_secret": "secret",
        }
        async with it.running(it.config({"auth": auth})):
            line = await outlet.next()
            await line.say(b"a\n")
            await it.values(count=1)
            assert [one.path for one in it.server.received] == ["/token", "/x", "/token", "/x"]
            good.clear()
            await line.reset()
            await it.reconnect()
            entries = await it.entries(4)
            assert "401" in entries[-1].reason
        assert [one.path for one in it.server.received][4:] == ["/x", "/token", "/x"]


async def test_a_length_that_is_none(tmp_path: Path) -> None:
    """Nothing can be found behind it: the connection is ended, with what stood before it stored, and begun anew."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        options = {"format": "length-prefixed", "length_prefix": {"size": 2, "includes_itself": True}}
        async with it.running(it.config(options)):
            line = await outlet.next()
            await line.say(b"\0\3a\0\4bc\0\1never")
            assert await it.values(count=2) == [b"a", b"bc"]
            await line.say(b"more")
            entries = await it.entries(3)
            assert entries[-1].decision is Decision.FAILED
            assert "the length of frame 3 is 1" in entries[-1].reason
            await it.reconnect()
            line = await outlet.next()
            await line.say(b"\0\3d")
            assert await it.values(count=3) == [b"a", b"bc", b"d"]


async def test_a_topic_that_somebody_deletes(tmp_path: Path) -> None:
    """It is made again, and the stream goes on behind what was stored."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse"})):
            line = await outlet.next()
            await line.say(b"id: 1\ndata: a\n\n")
            await it.until(lambda: it.stream().checkpoint.records == 1)
            await it.log.delete_topic("cats")
            await line.say(b"id: 2\ndata: b\n\n")
            await it.until(lambda: it.engine.runs()["cats"].restarts == 1)
            await it.calm()
            it.clock.advance(2)
            line = await outlet.next()
            assert line.request.header("last-event-id") == "1"
            await line.say(b"id: 2\ndata: b\n\n")
            assert await it.values(count=1) == [b"b"]


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """A port that nobody listens at is tried again after pauses, told once, and had once somebody does."""
    async with streamed(tmp_path) as it:
        async with ScriptedServer() as gone:
            url = gone.url
        port = int(url.rpartition(":")[2])
        with capture_logs() as lines:
            async with it.running(it.config({"endpoint": f"{url}/x"})):
                for _ in range(3):
                    await it.until(lambda: it.stream().next_poll() is not None and bool(lines))
                    await it.reconnect()
                    await it.until(lambda: it.stream().next_poll() is not None)
                async with ScriptedServer(port=port) as there:
                    outlet = Outlet()
                    there.route("/x", outlet)
                    await it.reconnect()
                    await (await outlet.next()).say(b"a\n")
                    assert await it.values(count=1) == [b"a"]
                    it.clock.advance(3)
                    await it.until(lambda: len(lines) == 2)
        # That it goes away again is another matter.
        assert [line["event"] for line in lines[:2]] == ["connector is failing", "connector recovered"]
