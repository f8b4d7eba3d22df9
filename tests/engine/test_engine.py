"""Connectors that come, go and crash while others run: a real log and server, a clock turned by hand."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.test_connector import Bench, bench, counting
from headwater.core.errors import ConnectorError, LogCorruptError, SmartModuleError
from headwater.core.http import Deliver, Fetching, Request
from headwater.engine.engine import RunState
from headwater.testing import Answer


def break_fetching(it: Bench, times: int) -> None:
    """Let so many requests of connectors with `odd` in their URL run into a defect."""
    real, calls = it.fetcher.begin, iter(range(1000))

    def broken(request: Request, deliver: Deliver) -> Fetching:
        if "odd" in request.url and next(calls) < times:
            raise RuntimeError("a defect")
        return real(request, deliver)

    it.fetcher.begin = broken  # type: ignore[method-assign]


async def test_connectors_come_and_go(tmp_path: Path) -> None:
    """One that starts or ends later never touches the others; one that comes back goes on with its checkpoint."""
    async with bench(tmp_path) as it:
        it.server.route("/cats", Answer(headers=(("etag", '"1"'),), body=b"cat"), Answer(304))
        it.server.route("/dogs", counting())
        cats, dogs = it.config("/cats", "cats"), it.config("/dogs", "dogs")
        await it.engine.prepare([cats])
        await it.engine.start([cats])
        await it.clock.sleeping()
        due = it.engine.runs()["cats"].connector.next_poll()
        assert due == it.clock.time_ms() + 10_000
        await it.engine.prepare([dogs])
        await it.engine.start([dogs])
        await it.clock.sleeping(2)
        assert await it.values("dogs") == [b"0"]
        await it.engine.end(["cats", "nobody"])
        assert set(it.engine.runs()) == {"dogs"}
        await it.clock.next_wake()
        await it.clock.sleeping()
        assert await it.values("dogs") == [b"0", b"1"]
        await it.engine.prepare([cats])
        await it.engine.start([cats])
        await it.clock.sleeping(2)
        assert it.server.received[-1].header("if-none-match") == '"1"'
        assert await it.values("cats") == [b"cat"]
        await it.engine.drain()
        assert not it.engine.runs()


async def test_ending_waits_for_the_exchange_under_way(tmp_path: Path) -> None:
    """What is asked for already is stored before a connector ends."""
    async with bench(tmp_path) as it:
        gate = asyncio.Event()
        it.server.route("/x", Answer(body=b"late", wait=gate.wait))
        await it.engine.prepare([it.config()])
        await it.engine.start([it.config()])
        await asyncio.to_thread(it.server.wait_for, 1)
        ending = asyncio.create_task(it.engine.end(["cats"]))
        await asyncio.sleep(0)
        assert not ending.done()
        gate.set()
        await ending
        assert await it.values() == [b"late"]


async def test_the_restart_policy(tmp_path: Path) -> None:
    """Pauses grow; after so many crashes in a row a connector is given up, the others go on."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        break_fetching(it, 1000)
        more = "  restart: {attempts: 2, initial: 4s, max: 6s}\n"
        with capture_logs() as lines:
            async with it.running(it.config("/x?odd", "odd", more, "1h"), it.config("/x", "even", "", "1h")):
                await it.clock.sleeping(2)
                run = it.engine.runs()["odd"]
                assert (run.state, run.reason, run.restarts) == (RunState.PAUSING, "RuntimeError: a defect", 1)
                await it.clock.next_wake()
                await it.clock.sleeping(2)
                await it.clock.next_wake()
                await run.task
                assert (run.state, run.restarts) == (RunState.GIVEN_UP, 2)
                assert it.engine.runs()["even"].state is RunState.RUNNING
    assert [(line["event"], line.get("restart_in"), line.get("restart")) for line in lines] == [
        ("connector crashed", 3.0, None),
        ("connector crashed", 4.5, None),
        ("connector crashed", None, "not again"),
    ]


async def test_after_a_long_good_time_the_pauses_begin_anew(tmp_path: Path) -> None:
    """A crash a day is no loop of crashes."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        real, calls = it.fetcher.begin, iter(range(1000))

        def every_other(request: Request, deliver: Deliver) -> Fetching:
            if next(calls) % 2:
                raise RuntimeError("a defect")
            return real(request, deliver)

        it.fetcher.begin = every_other  # type: ignore[method-assign]
        with capture_logs() as lines:
            async with it.running(it.config(interval="1h", more="  restart: {attempts: 1, reset: 30m}\n")):
                for _ in range(6):
                    await it.clock.sleeping()
                    await it.clock.next_wake()
                await it.clock.sleeping()
    assert {line["restart_in"] for line in lines} == {0.8}
    assert len(lines) == 3


async def test_when_all_are_given_up_the_run_ends(tmp_path: Path) -> None:
    """With nothing left to run, `run` says so instead of waiting for ever."""
    async with bench(tmp_path) as it:
        break_fetching(it, 1000)
        with pytest.raises(ConnectorError, match=r"restart\.attempts"):
            await it.engine.run([it.config("/x?odd", more="  restart: {attempts: 0}\n")], it.stop)


async def test_a_log_beyond_repair_ends_all(tmp_path: Path) -> None:
    """A damaged log is nobody's fault alone: everything ends with its error."""
    async with bench(tmp_path) as it:

        async def damaged(connector: str) -> bytes | None:
            raise LogCorruptError(f"the file is damaged where {connector} is")

        it.log.checkpoint = damaged  # type: ignore[method-assign]
        with pytest.raises(LogCorruptError, match="where cats is"):
            await it.engine.run([it.config()], it.stop)


async def test_a_module_that_never_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for ever while it is imported is given up, with the name of what was loaded."""
    monkeypatch.setattr("headwater.engine.engine._LOADING", 0.2)
    stuck = threading.Event()
    monkeypatch.setattr("headwater.transforms.library.chains_of", lambda *_: stuck.wait(60))
    async with bench(tmp_path) as it:
        with pytest.raises(SmartModuleError, match=r"\./stuck\.py:f could not be loaded"):
            await it.engine.prepare([it.config(more="transforms:\n  - uses: ./stuck.py:f\n")])
        stuck.set()
