"""`headwater connector` against a real cluster, as a person types it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing.kubernetes import Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import IMAGE, bed, until


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """Return the command line."""
    (tmp_path / "home").mkdir()
    made = CommandLine(tmp_path / "home")
    yield made
    made.close()


async def test_a_life(cluster: Cluster, kubelet: Kubelet, namespace: str, line: CommandLine, tmp_path: Path) -> None:
    """The same words as on one machine: created, listed, followed, changed, paused, resumed, deleted."""
    line.environment["KUBECONFIG"] = str(cluster.kubeconfig)
    line.environment["API_TOKEN"] = "t0ps3cret"
    target = ("--target", f"kubernetes:{namespace}")

    async def good(*arguments: object) -> str:
        return await asyncio.to_thread(line.good, "connector", *arguments, *target)

    async with bed(cluster, namespace, tmp_path) as it:
        await it.provide_profile()
        assert await good("list") == "no managed connectors\n"
        text = it.definition(more="  headers: {X: '${{ secrets.API_TOKEN }}'}\n", API_TOKEN="x").text
        line.config(text)
        would = await good("create", "--config=./connect.yml", "--image", IMAGE, "--dry-run")
        assert would.endswith('connector "cats" would be created\n')
        assert await it.ours() == []
        created = await good("create", "--config=./connect.yml", "--image", IMAGE, "--wait")
        assert created == 'connector "cats" created\n'
        assert (await good("list")).split() == [
            "NAME",
            "TYPE",
            "VERSION",
            "STATUS",
            "cats",
            "http",
            "latest",
            "Running",
        ]
        assert {request.header("x") for request in it.server.received} == {"t0ps3cret"}
        assert await good("config", "cats") == text
        (listed,) = json.loads(await good("list", "-O", "json"))
        assert listed["where"].startswith("cats-")
        following = line.start("connector", "logs", "cats", "-f", *target)
        assert following.stdout is not None
        assert '"serving health"' in await asyncio.to_thread(following.stdout.readline)
        assert (await asyncio.to_thread(line.stop, following, signal.SIGINT))[0] == 130
        line.config(text.replace("100ms", "200ms"))
        assert "+  interval: 200ms\n" in await good("update", "-c", "connect.yml", "--dry-run")
        assert await good("update", "-c", "connect.yml", "--wait") == 'connector "cats" updated\n'
        assert await good("pause", "cats") == 'connector "cats" paused\n'
        assert "Paused" in await good("list")
        assert await good("resume", "cats", "--wait") == 'connector "cats" resumed\n'
        assert await good("restart", "cats", "--wait") == 'connector "cats" restarted\n'
        numbers = await it.grown()
        assert numbers == list(range(len(numbers)))
        missing = await asyncio.to_thread(line.run, "connector", "pause", "dogs", *target)
        assert (missing.returncode, missing.stderr.splitlines()[0]) == (1, "headwater: Connector not found: dogs")
        assert await good("delete", "cats") == 'connector "cats" deleted\n'

        async def gone() -> bool:
            return not await it.pods()

        await until(gone)
        assert await it.ours() == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--target", "kubernetes:"), 2, "names nothing behind its colon"),
        (("--target", "nomad"), 2, "'nomad' does not begin with kubernetes"),
        (("--target", "kubernetes", "--kubeconfig", "missing"), 4, "the kubeconfig missing does not exist"),
        (("--target", "kubernetes"), 4, "no cluster is known here"),
        (("--profile", "kubernetes:far"), 4, "no cluster is known here"),
        (("--namespace", "x"), 2, "--namespace is for --target kubernetes"),
        (("--profile", "cloud"), 3, "connectors are not managed by the cluster of the profile 'cloud'"),
    ],
)
def test_wrong_places(line: CommandLine, arguments: tuple[str, ...], status: int, said: str) -> None:
    """Whatever cannot be reached is told with what was looked for."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        line.environment.pop(name, None)
    done = line.run("connector", "list", *arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
