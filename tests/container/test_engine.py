"""The tests' engine itself, without one: when it is tried, and what is said where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from container.engine import DRIVERS, Engine, NoEngineError, done, pip_settings, refused


@pytest.mark.parametrize(
    ("environment", "user", "reason"),
    [
        ({}, 0, "HEADWATER_TEST_DOCKER=1 asks for"),
        ({"HEADWATER_TEST_DOCKER": "0", "CI": "false"}, 0, "installs debootstrap, docker-compose, docker.io"),
        ({"HEADWATER_TEST_DOCKER": "1"}, 1000, "needs root"),
        ({"HEADWATER_TEST_DOCKER": "1"}, 0, None),
        ({"CI": "true"}, 0, None),
    ],
)
def test_when_it_is_tried(environment: dict[str, str], user: int, reason: str | None) -> None:
    """Only where it is asked for, and only as root."""
    said = refused(environment, user)
    assert said is None if reason is None else said is not None and reason in said


def test_pips_settings() -> None:
    """Where packages come from goes into the base image; files of this machine do not, but for its authorities."""
    listing = (
        ":env:.find-links='/opt/wheels'\n"
        "global.cert='/home/me/ca.pem'\n"
        "global.default-timeout='60'\n"
        "install.no-binary=':none:'\n"
        "\n"
    )
    assert pip_settings(listing) == {
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "PIP_DEFAULT_TIMEOUT": "60",
        "PIP_NO_BINARY": ":none:",
    }


def test_commands_that_fail() -> None:
    """A failure says what was run and what came back."""
    with pytest.raises(NoEngineError, match="sh -c echo no >&2; exit 3 ended with 3: no"):
        done(["sh", "-c", "echo no >&2; exit 3"])
    with pytest.raises(NoEngineError, match=r"no-such-command: .*No such file"):
        done(["no-such-command"])


def test_an_engine_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is tried, and said with what came back; nothing is left."""
    engine = tmp_path / "dockerd"
    engine.write_text('#!/bin/sh\necho "failed: Devices cgroup is not mounted" >&2\nexit 1\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    made = Engine()
    with pytest.raises(NoEngineError) as caught:
        made.__enter__()
    for driver in DRIVERS:
        assert f"--storage-driver={driver}: failed: Devices cgroup is not mounted" in str(caught.value)
    assert not made.place.exists()
