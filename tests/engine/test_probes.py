"""What an engine says of itself: decided for states, and served over real HTTP from the loop that does the work."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.faraway import faraway
from engine.test_connector import bench
from engine.test_engine import break_fetching
from headwater.core.errors import HeadwaterError, LogCorruptError
from headwater.engine import Engine
from headwater.engine.counters import Figures
from headwater.engine.metrics import EngineCollector
from headwater.engine.probes import MOST_TOLD, Probe, State, Told, answer, state_of
from headwater.engine.probeserver import serve_probes
from headwater.testing import Answer

UPSTREAM = Told("cats", "http-status", "the server said 500", 1, ours=False)
OURS = Told("dogs", "log", "no space left", 2, ours=True)
STARTED, LIVE, READY = Probe.STARTED, Probe.LIVE, Probe.READY


@pytest.mark.parametrize(
    ("state", "good"),
    [
        (State(0, started=False), {LIVE}),
        (State(2, started=True), {STARTED, LIVE, READY}),
        (State(2, started=True, troubles=(UPSTREAM,)), {STARTED, LIVE, READY}),
        (State(2, started=True, troubles=(UPSTREAM, OURS)), {STARTED, LIVE}),
        (State(2, started=True, fatal="the log is damaged", troubles=(OURS,)), set()),
    ],
)
def test_what_is_answered(state: State, good: set[Probe]) -> None:
    """Upstream trouble changes nothing; a log that refuses is not ready; one beyond repair is not alive."""
    assert {probe for probe in Probe if answer(probe, state).status == 200} == good
    for probe in Probe:
        answered = answer(probe, state)
        assert answered.ok == (not answered.reason)
        assert answered.troubled == len(state.troubles)


def test_our_own_troubles_come_first_and_few() -> None:
    """However many connectors there are, an answer is short."""
    many = tuple(Told(f"c{number}", "dns", "no such host", number, ours=False) for number in range(1000))
    answered = answer(READY, State(1001, started=True, troubles=(*many, OURS, OURS)))
    assert answered.troubled == 1002
    assert len(answered.troubles) == MOST_TOLD
    assert answered.troubles[:2] == (OURS, OURS)
    assert answered.reason == "dogs: no space left, and 1 more"


async def get(url: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def probes(url: str) -> tuple[list[int], dict[str, Any]]:
    """Return the statuses of all three, and the body of the last."""
    answers = [await get(url + probe.value) for probe in Probe]
    return [status for status, _ in answers], json.loads(answers[-1][1])


def observed(engine: Engine, *wanted: str) -> State:
    fatal = str(engine.fatal.result()) if engine.fatal.done() else ""
    return state_of(wanted, engine.runs(), engine.figures, fatal)


async def test_an_engine_tells_of_itself(tmp_path: Path) -> None:
    """From before the start over a failing endpoint, a crash and a broken log; with metrics beside it."""
    async with bench(tmp_path) as it:
        it.server.route("/cats", Answer(500), Answer(body=b"x"))
        collector = EngineCollector(it.engine.figures, lambda: 4096)
        async with serve_probes("0", lambda: observed(it.engine, "cats"), collector) as base:
            assert (await probes(base))[0] == [503, 200, 503]
            cats = it.config("/cats", "cats", "  retry: {attempts: 1}\n")
            await it.engine.prepare([cats])
            with capture_logs():
                await it.engine.start([cats])
                await it.clock.sleeping()
                statuses, body = await probes(base)
                assert statuses == [200, 200, 200]
                (trouble,) = body["troubles"]
                assert (trouble["connector"], trouble["ours"], body["troubled"]) == ("cats", False, 1)
                assert "500" in trouble["reason"]
                await it.clock.next_wake()
                await it.clock.sleeping()
            assert (await probes(base))[1]["troubles"] == []
            status, text = await get(f"{base}/metrics")
            assert status == 200
            assert 'headwater_records_total{connector="cats"} 1.0' in text
            assert (await get(f"{base}/nothing"))[0] == 404
            it.engine.fatal.set_result(LogCorruptError("the log is damaged"))
            statuses, body = await probes(base)
            assert (statuses, body["reason"]) == ([503, 503, 503], "the log is damaged")
        await it.engine.drain()


async def test_a_cluster_that_is_away_is_not_ready(tmp_path: Path) -> None:
    """The pod stays alive and is not ready while the cluster refuses, and ready again when it is back."""
    async with faraway(tmp_path) as it:
        it.patience = timedelta(0)
        it.numbers("/x")
        config = it.config()
        async with it.target(config) as target:
            engine = it.engine(target)
            await engine.prepare([config])
            async with serve_probes("0", lambda: observed(engine, "cats")) as base:
                with capture_logs():
                    await engine.start([config])
                    await it.clock.sleeping()
                    assert (await probes(base))[0] == [200, 200, 200]
                    await it.close()
                    await it.clock.next_wake()
                    await it.until(lambda: engine.figures.of("cats").trouble is not None)
                    statuses, body = await probes(base)
                    assert statuses == [200, 200, 503]
                    assert body["troubles"][0]["slug"] == "cluster"
                    await it.open()
                    while engine.figures.of("cats").trouble is not None:
                        await it.clock.next_wake()
                    assert (await probes(base))[0] == [200, 200, 200]
                    await engine.drain()


def test_a_stuck_loop_is_silent() -> None:
    """While the event loop does not turn there is no answer, which is what fails the probe."""
    busy, release, closing = threading.Event(), threading.Event(), asyncio.Event()
    found: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serve_probes("0", lambda: State(0, started=True)) as base:
            found.append(base)
            ready.set()
            await closing.wait()

    def block() -> None:
        busy.set()
        release.wait(30)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        loop.call_soon_threadsafe(block)
        assert busy.wait(30)
        with socket.create_connection(("127.0.0.1", int(found[0].rpartition(":")[2])), timeout=0.3) as asking:
            asking.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            with pytest.raises(TimeoutError):
                asking.recv(1)
            release.set()
            asking.settimeout(30)
            assert asking.recv(1 << 16).startswith(b"HTTP/1.1 200")
    finally:
        release.set()
        loop.call_soon_threadsafe(closing.set)
        thread.join(30)
        loop.close()


async def test_an_address_that_cannot_be_used() -> None:
    """A taken port, and what is no address, are sentences."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HeadwaterError, match=f"cannot serve health on 127.0.0.1:{port}: Address already in use"):
            async with serve_probes(str(port), lambda: State(0, started=True)):
                pass
    with pytest.raises(HeadwaterError, match="--health 'x' is not"):
        async with serve_probes("x", lambda: State(0, started=True)):
            pass


async def test_a_crashed_connector_is_not_ready(tmp_path: Path) -> None:
    """While a connector pauses after a crash, the process does not do what it is there for."""
    async with bench(tmp_path) as it:
        it.server.route("/odd", Answer(body=b"x"))
        config = it.config("/odd", "odd")
        break_fetching(it, 1)
        await it.engine.prepare([config])
        with capture_logs():
            await it.engine.start([config])
            await it.clock.sleeping()
            answered = answer(READY, observed(it.engine, "odd"))
            assert not answered.ok
            assert (answered.troubles[0].slug, answered.troubles[0].ours) == ("crash", True)
            # A server goes on serving.
            serving = state_of(["odd"], it.engine.runs(), it.engine.figures, server=True)
            assert answer(READY, serving).ok
            assert answer(READY, serving).troubled == 1
            await it.clock.next_wake()
            await it.clock.sleeping()
        assert answer(READY, observed(it.engine, "odd")).ok
        await it.engine.drain()


def test_a_connector_that_nobody_started_is_waited_for() -> None:
    """Startup is done when every connector has been started."""
    assert state_of(["cats"], {}, Figures()) == State(0, started=False)
    assert state_of([], {}, Figures()) == State(0, started=True)
