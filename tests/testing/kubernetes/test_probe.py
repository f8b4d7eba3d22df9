from __future__ import annotations

import pytest
from lightkube.models.core_v1 import HTTPGetAction, Probe, TCPSocketAction

from headwater.testing import Answer, ScriptedServer
from headwater.testing.kubernetes.probe import Threshold, passes


async def no_command(command: list[str], limit: float) -> bool:
    raise AssertionError


@pytest.mark.parametrize(
    ("results", "passing"),
    [("", True), ("--", True), ("--+--", True), ("---", False), ("---+", False), ("---++", True)],
)
def test_a_row_of_equal_results_decides(results: str, passing: bool) -> None:  # noqa: FBT001
    """Three failures in a row change it, two successes in a row change it back; what comes between begins anew."""
    threshold = Threshold(Probe(failureThreshold=3, successThreshold=2), passing=True)
    for result in results:
        threshold.observe(passed=result == "+")
    assert threshold.passing is passing


@pytest.mark.parametrize(("status", "passed"), [(200, True), (302, True), (404, False), (500, False)])
async def test_http(status: int, passed: bool) -> None:  # noqa: FBT001
    """A status from 200 to 399 passes; the host and the headers are the probe's."""
    async with ScriptedServer() as server:
        server.route("/healthz", Answer(status))
        port = int(server.url.rpartition(":")[2])
        probe = Probe(httpGet=HTTPGetAction(port="metrics", path="/healthz", scheme="HTTP"))
        assert await passes(probe, "127.0.0.1", {"metrics": port}, no_command) is passed
        assert server.received[0].header("user-agent") == "kube-probe/1.35"


async def test_nobody_answers() -> None:
    """A server that hangs, a port where nobody listens and a name that no port has are failures."""
    async with ScriptedServer() as server:
        server.route("/", Answer(hang=True))
        port = int(server.url.rpartition(":")[2])
        hanging = Probe(httpGet=HTTPGetAction(port=port), timeoutSeconds=1)
        assert not await passes(hanging, "127.0.0.1", {}, no_command)
        assert await passes(Probe(tcpSocket=TCPSocketAction(port=port)), "127.0.0.1", {}, no_command)
    assert not await passes(Probe(tcpSocket=TCPSocketAction(port=port)), "127.0.0.1", {}, no_command)
    assert not await passes(Probe(httpGet=HTTPGetAction(port="none")), "127.0.0.1", {}, no_command)
