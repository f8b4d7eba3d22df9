"""`headwater k8s manifest`, and the probes of `headwater run`, as a user meets them."""

from __future__ import annotations

import json
import urllib.request

import pytest
import yaml

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer

TEXT = """
name: {name}
topic: cats
parameters:
  endpoint: http://127.0.0.1/${{{{ secrets.API_PATH }}}}
"""
PROFILE = """
version = "2.0"
current_profile = "far"

[profile.far]
cluster = "far"

[cluster.far]
endpoint = "127.0.0.1:1"
use_spu_local_address = false

[cluster.far.tls]
tls_policy = "disabled"
"""


def test_a_manifest_of_several_files(headwater: CommandLine) -> None:
    """Every connector of every file, with the options; no secret without being asked."""
    headwater.environment["API_PATH"] = "hush"
    one = headwater.config(TEXT.format(name="a"), "a.yml")
    two = headwater.config(TEXT.format(name="b"), "b.yml")
    text = headwater.good(
        "k8s", "manifest", one, two, "-n", "feeds", "--image", "mine:1", "--limits", "cpu=2,memory=1Gi"
    )
    objects = list(yaml.safe_load_all(text))
    assert [it["kind"] for it in objects] == ["ServiceAccount", "ConfigMap", "Deployment"] * 2
    assert {it["metadata"]["namespace"] for it in objects} == {"feeds"}
    (container,) = objects[2]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "mine:1"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert "hush" not in text
    assert "# a expects a Secret a-secrets-" in text
    with_secrets = headwater.good("k8s", "manifest", one, "--with-secrets")
    assert [it["kind"] for it in yaml.safe_load_all(with_secrets)].count("Secret") == 1


def test_a_manifest_of_a_group(headwater: CommandLine) -> None:
    """The group with its settings, and what each connector is in it."""
    headwater.environment["API_PATH"] = "hush"
    one = headwater.config(TEXT.format(name="a"), "a.yml")
    text = headwater.good("k8s", "manifest", one, "--group", "feeds", "--replicas", "3", "--slots", "32")
    objects = {it["kind"]: it for it in yaml.safe_load_all(text)}
    assert objects["Deployment"]["spec"]["replicas"] == 3
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][:6] == ["k8s", "worker", "--group", "feeds", "--slots", "32"]
    assert objects["ConfigMap"]["metadata"]["name"] == "a-connector"
    assert "hush" not in text


def test_a_worker_needs_a_cluster(headwater: CommandLine) -> None:
    """Both of them: one for the records, and one of Kubernetes."""
    done = headwater.run("k8s", "worker", "--group", "feeds")
    assert done.returncode == 3
    assert (
        "the pods of a group keep records and checkpoints in a Fluvio cluster, and this is profile local" in done.stderr
    )
    profile = headwater.directory / "profile"
    profile.write_text(PROFILE)
    headwater.environment |= {"FLV_PROFILE_PATH": str(profile), "KUBECONFIG": ""}
    done = headwater.run("k8s", "worker", "--group", "feeds")
    assert done.returncode == 4
    assert "no cluster is known here" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--storage", "10 GB"), "'10 GB' is no quantity"),
        (("-n", "No_Namespace"), "is no namespace"),
        (("--limits", "memory"), "is not of the form KEY=VALUE"),
        (("--grace", "soon"), "soon"),
        (("--replicas", "3"), "--replicas is for connectors in a group"),
        (("--group", "feeds", "--storage", "1Gi"), "a group has no storage"),
        (("--group", "feeds", "--replicas", "17"), "17 replicas cannot share 16 slots"),
        (("--group", "No_Group"), "'No_Group' is no group"),
    ],
)
def test_wrong_options(headwater: CommandLine, options: tuple[str, ...], message: str) -> None:
    headwater.environment["API_PATH"] = "x"
    done = headwater.run("k8s", "manifest", headwater.config(TEXT.format(name="a")), *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_probes_of_a_running_process(headwater: CommandLine, server: ScriptedServer) -> None:
    """The address is said at the start; an endpoint that fails is told, and the process is ready all the same."""
    url = server.route("/x", Answer(404))
    config = headwater.config(f"name: a\ntopic: a\nparameters:\n  endpoint: {url}\n  interval: 1h\n")
    process = headwater.start("run", config, "--health", "0", "--log-format", "json")
    assert process.stderr is not None
    said = [json.loads(process.stderr.readline())]
    while said[-1]["event"] != "connector is failing":
        said.append(json.loads(process.stderr.readline()))
    (address,) = [it["url"] for it in said if it["event"] == "serving health"]
    with urllib.request.urlopen(f"{address}/readyz", timeout=30) as response:
        body = json.load(response)
    assert (body["ok"], body["connectors"], body["troubled"]) == (True, 1, 1)
    assert "404" in body["troubles"][0]["reason"]
    assert headwater.stop(process)[0] == 130


def test_checkpoints_in_a_cluster_need_one(headwater: CommandLine) -> None:
    """On the embedded log they are with the records already, so that somebody has mixed up something."""
    config = headwater.config("name: a\ntopic: a\nparameters:\n  endpoint: http://127.0.0.1/\n")
    done = headwater.run("run", config, "--checkpoints", "cluster")
    assert done.returncode == 3
    assert "--checkpoints cluster: records go to no cluster but to profile local" in done.stderr
