"""Which cluster is meant: as kubectl finds it, and with a sentence where it is not found."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from headwater.core.errors import ManagerError
from headwater.kubernetes import Options, manager
from headwater.kubernetes.access import contexts, find
from kubernetes.cluster import Cluster


def kubeconfig(path: Path, current: str = "one", **more: object) -> Path:
    """Write a kubeconfig with two contexts."""
    text = {
        "current-context": current,
        "clusters": [{"name": it, "cluster": {"server": f"https://{it}.example.com"}} for it in ("one", "two")],
        "users": [{"name": "me", "user": {"token": "hush"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "me", "namespace": "feeds"}},
            {"name": "two", "context": {"cluster": "two", "user": "me"}},
            {"name": "nobody", "context": {"cluster": "two"}},
            {"name": "lost", "context": {"cluster": "three", "user": "me"}},
        ],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(text))
    return path


def test_the_order_in_which_files_count(tmp_path: Path) -> None:
    """The option, then the variable with the first of its files that is there, then the one at home."""
    usual = kubeconfig(tmp_path / "home/.kube/config", "two")
    named = kubeconfig(tmp_path / "named")
    home = {"HOME": str(tmp_path / "home")}
    assert find(Options(), home).cluster.server == "https://two.example.com"
    variable = {**home, "KUBECONFIG": f"{tmp_path}/nowhere:{named}:{usual}"}
    found = find(Options(), variable)
    assert (found.cluster.server, found.namespace) == ("https://one.example.com", "feeds")
    assert find(Options(kubeconfig=usual), variable).cluster.server == "https://two.example.com"
    assert find(Options(kubeconfig=usual, context="one"), {}).cluster.server == "https://one.example.com"
    assert find(Options(), home).namespace == "default"


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (Options(), {"HOME": "/nowhere"}, "no cluster is known here: /nowhere/.kube/config does not exist"),
        (
            Options(),
            {"KUBECONFIG": "/nowhere:/not/there"},
            r"\$KUBECONFIG names /nowhere:/not/there, which is not there",
        ),
        (Options(kubeconfig=Path("/nowhere")), {}, "the kubeconfig /nowhere does not exist"),
    ],
)
def test_no_kubeconfig(options: Options, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ManagerError, match=message):
        find(options, environment)
    assert contexts(options, environment) == ()


def test_contexts_that_are_not_there(tmp_path: Path) -> None:
    """The nearest one is named, else all."""
    path = kubeconfig(tmp_path / "config")
    with pytest.raises(ManagerError, match="there is no context 'tow'") as raised:
        find(Options(context="tow", kubeconfig=path))
    assert raised.value.hint == "did you mean two?"
    with pytest.raises(ManagerError) as raised:
        find(Options(context="production", kubeconfig=path))
    assert raised.value.hint == "it has these: lost, nobody, one, two"
    with pytest.raises(ManagerError, match="names no user"):
        find(Options(context="nobody", kubeconfig=path))
    with pytest.raises(ManagerError, match="names 'three' but does not say what that is"):
        find(Options(context="lost", kubeconfig=path))
    assert contexts(Options(kubeconfig=path)) == ("lost", "nobody", "one", "two")


@pytest.mark.parametrize(
    "text", ["", "a: [", "\x00", "[]", "clusters: 1\ncontexts: []", "clusters: []\ncontexts: [{}]"]
)
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    """A broken file is told, without its text: there are keys in it."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ManagerError, match="is no kubeconfig"):
        find(Options(kubeconfig=path))


async def test_an_api_server_that_is_away(tmp_path: Path) -> None:
    """What was tried, where, and that nothing answers; nothing is asked before that."""
    cluster = {"server": "http://127.0.0.1:1"}
    path = kubeconfig(tmp_path / "config", clusters=[{"name": "one", "cluster": cluster}])
    async with manager(Options(kubeconfig=path)) as opened:
        with pytest.raises(ManagerError, match=r"cannot list connectors in namespace feeds of http://127\.0\.0\.1:1: "):
            await opened.list()


async def test_a_command_that_gives_tokens(cluster: Cluster, tmp_path: Path) -> None:
    """Of both versions of the interface; it is told in which to answer."""
    text = yaml.safe_load(cluster.kubeconfig.read_text())
    (user,) = text["users"]
    token = user["user"].pop("token")
    script = tmp_path / "token"
    script.write_text(
        f"#!/bin/sh\nprintf '%s' \"$KUBERNETES_EXEC_INFO\" > {tmp_path}/told\n"
        f"""echo '{{"kind":"ExecCredential","status":{{"token":"{token}"}}}}'\n"""
    )
    script.chmod(0o755)
    for version in ("v1beta1", "v1"):
        user["user"]["exec"] = {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(script)}
        path = tmp_path / version
        path.write_text(yaml.safe_dump(text))
        async with manager(Options(kubeconfig=path)) as opened:
            assert await opened.list() == []
    assert yaml.safe_load((tmp_path / "told").read_text())["apiVersion"] == "client.authentication.k8s.io/v1"
