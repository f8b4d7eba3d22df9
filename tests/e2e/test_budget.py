"""Budgets over kills and restarts of the real command: no more requests ever go than they allow."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.upcluster import Up
from headwater.log import LogReader
from headwater.testing import Answer, ScriptedServer, background

# A month is what a test crosses the end of least often.
CONFIG = """\
name: cats
topic: cats
parameters:
  endpoint: {url}
  interval: 5ms
  limits: {{share: api, requests_per_month: {budget}}}
"""


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line with a data directory of its own."""
    made = CommandLine(tmp_path)
    yield made
    made.close()


def held(process: subprocess.Popen[str]) -> None:
    """Wait for the line that says that the budget is used up."""
    assert process.stderr is not None
    for line in process.stderr:
        if "limits hold requests back" in line:
            return
    raise AssertionError("the budget was never used up")


def stored(data: Path) -> int:
    with LogReader(data) as reader:
        counts = json.loads(reader.checkpoint("@limits/name/api") or b"{}")
    return int(counts["month"]["count"])


@pytest.mark.parametrize("budget", [40, 300])
def test_kills_never_make_more_requests_than_the_budget(headwater: CommandLine, budget: int) -> None:
    """With kill -9 in the middle: no more than the budget, and less by a lot for each kill at most."""
    with background(ScriptedServer()) as server:
        config = headwater.config(CONFIG.format(url=server.route("/x", Answer(body=b"x")), budget=budget))
        for number in range(1, 3):
            process = headwater.start("run", config)
            server.wait_for(number * budget // 5, timeout=120)
            process.kill()
            process.communicate()
        process = headwater.start("run", config)
        held(process)
        headwater.stop(process)
        lot = max(1, budget // 100)
        assert budget - 2 * lot <= len(server.received) <= budget
        assert stored(headwater.data) == budget
        # Whoever starts again asks for nothing.
        process = headwater.start("run", config)
        held(process)
        headwater.stop(process, signal.SIGTERM)
        assert len(server.received) <= budget
    entries = [json.loads(line) for line in headwater.good("ledger", "cats", "--output", "json").splitlines() if line]
    assert "the budget of" in json.dumps(entries[-1])


def test_a_stop_stores_the_exact_count(headwater: CommandLine) -> None:
    """Nothing of the budget is lost by it."""
    with background(ScriptedServer()) as server:
        config = headwater.config(CONFIG.format(url=server.route("/x", Answer(body=b"x")), budget=100_000))
        process = headwater.start("run", config)
        server.wait_for(10)
        headwater.stop(process)
        assert stored(headwater.data) == len(server.received)


def test_beside_a_server_the_count_goes_through_it(headwater: CommandLine) -> None:
    """A process that has no log of its own keeps its count with the server that has."""
    up = Up(headwater, headwater.data)
    try:
        with background(ScriptedServer()) as server:
            config = headwater.config(CONFIG.format(url=server.route("/x", Answer(body=b"x")), budget=25))
            process = headwater.start("run", config)
            held(process)
            headwater.stop(process)
            assert len(server.received) == 25
            assert stored(headwater.data) == 25
    finally:
        up.close()
