"""The files of the container, without one: they fit each other and the commands that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from headwater.cli.app import headwater
from headwater.cli.container import command_line
from headwater.config import load_text
from headwater.profile.file import chosen

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_what_is_copied_is_not_ignored() -> None:
    """The Dockerfile's sources are those that .dockerignore lets through, and they are there."""
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("name", [name for name, it in COMPOSE["services"].items() if "entrypoint" not in it])
def test_commands(name: str) -> None:
    """Each service runs a command of Headwater with options that it has."""
    command, *options = command_line(COMPOSE["services"][name]["command"])
    with headwater.make_context("headwater", [command, *options]) as context:
        found = headwater.get_command(context, command)
        assert found is not None
        found.make_context(command, list(options))


def test_the_mounted_files() -> None:
    """The connector's file loads and polls the service beside it; the profile names the server."""
    (connector,) = load_text((ROOT / "packaging/compose/connect.yml").read_text()).connectors
    assert connector.topic.name in COMPOSE["services"]["consumer"]["command"]
    assert str(connector.http.endpoint).startswith("http://api:8321/")
    cluster = chosen(environment={"FLV_PROFILE_PATH": str(ROOT / "packaging/compose/fluvio-config")}).cluster
    assert cluster is not None
    assert (cluster.host, cluster.port) == ("server", 9003)
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
