"""`headwater connector ... --target kubernetes` against a real cluster, as a user meets it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from lightkube import Client
from lightkube.resources.apps_v1 import Deployment

from commandline import CommandLine
from headwater.testing.kubernetes import Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import Bed, bed, numbered, until

HINT = "headwater connector update -c FILE"


def text(it: Bed, name: str = "cats", more: str = "") -> str:
    """Return the connect.yml of a connector of the endpoint that counts."""
    url = it.server.route(f"/{name}", numbered)
    return f"name: {name}\ntype: http\ntopic: {name}\nparameters:\n  endpoint: {url}\n  interval: 100ms\n{more}"


async def test_the_commands(cluster: Cluster, kubelet: Kubelet, namespace: str, client: Client, tmp_path: Path) -> None:
    """Fluvio's commands, columns and words, in a cluster: by a target, and by a profile."""
    async with bed(cluster, namespace, tmp_path) as it:
        await it.provide_profile()
        headwater = CommandLine(tmp_path)
        headwater.environment["KUBECONFIG"] = str(cluster.kubeconfig)
        where = ("--target", f"kubernetes:{namespace}")
        config = headwater.config(text(it))

        async def good(*arguments: object) -> str:
            return await asyncio.to_thread(headwater.good, *arguments)

        async def bad(*arguments: object) -> str:
            done = await asyncio.to_thread(headwater.run, *arguments)
            assert done.returncode == 1, done.stderr
            return done.stderr

        try:
            assert "no managed connectors" in await good("connector", "list", *where)
            await good(
                "connector",
                "create",
                "-c",
                config,
                "--image",
                "headwater:test",
                "--egress-allow=127.0.0.0/8",
                "--dry-run",
                *where,
            )
            assert "no managed connectors" in await good("connector", "list", *where)
            await good(
                "connector",
                "create",
                "-c",
                config,
                "--image",
                "headwater:test",
                "--egress-allow=127.0.0.0/8",
                "--wait",
                *where,
            )
            listed = await good("connector", "list", *where)
            assert [line.split() for line in listed.splitlines()] == [
                ["NAME", "TYPE", "VERSION", "STATUS"],
                ["cats", "http", "latest", "Running"],
            ]
            (found,) = json.loads(await good("connector", "list", "-O", "json", *where))
            assert found["where"].startswith("cats-")
            assert HINT in await bad("connector", "create", "-c", config, *where)
            assert "Connector not found: cat" in await bad("connector", "pause", "cat", *where)

            headwater.config(text(it, more="  spread: false\n"))
            planned = await good("connector", "update", "-c", config, "--dry-run", *where)
            assert "+  spread: false" in planned
            await good("connector", "update", "-c", config, "--wait", *where)
            deployment = client.get(Deployment, "cats").to_dict()
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "headwater:test"

            headwater.environment["HEADWATER_PROFILE"] = f"kubernetes:/{namespace}"
            assert '"running"' in await good("connector", "logs", "cats", "--tail", "20")
            assert "spread: false" in await good("connector", "config", "cats")
            await good("connector", "pause", "cats")
            assert "Paused" in await good("connector", "list")
            await good("connector", "resume", "cats")
            await until(lambda: running(headwater))
            await good("connector", "restart", "cats")
            await good("connector", "delete", "cats")
            assert "no managed connectors" in await good("connector", "list")
            assert await it.ours() == []
        finally:
            headwater.close()


async def running(headwater: CommandLine) -> bool:
    return "Running" in (await asyncio.to_thread(headwater.run, "connector", "list")).stdout


async def test_a_manifest_is_applied_and_then_listed(
    cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path
) -> None:
    """What `k8s manifest` prints, another tool applies; the commands show it, and leave it to that tool."""
    async with bed(cluster, namespace, tmp_path) as it:
        await it.provide_profile()
        headwater = CommandLine(tmp_path)
        headwater.environment["KUBECONFIG"] = str(cluster.kubeconfig)
        config = headwater.config(text(it))
        printed = headwater.good(
            "k8s", "manifest", config, "-n", namespace, "--image", "headwater:test", "--egress-allow=127.0.0.0/8"
        )
        for plain in yaml.safe_load_all(printed):
            await it.apply(plain)
        where = ("--target", f"kubernetes:{namespace}")
        await it.grown()
        assert "Running" in await asyncio.to_thread(headwater.good, "connector", "list", *where)
        done = await asyncio.to_thread(headwater.run, "connector", "pause", "cats", *where)
        assert done.returncode == 1
        assert "kubectl keeps" in done.stderr


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
def test_wrong_places(tmp_path: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    """Whatever cannot be reached is told with what was looked for."""
    line = CommandLine(tmp_path)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        line.environment.pop(name, None)
    done = line.run("connector", "list", *arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
