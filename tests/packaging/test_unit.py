"""The unit for systemd: it is what systemd understands, and it fits the command that it starts."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from headwater.cli.app import headwater

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "headwater.service"
# What releases before 254 do not know yet, and ignore.
YOUNG = ("RestartSteps", "RestartMaxDelaySec")


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    pairs = [line.partition("=")[::2] for line in lines]
    return dict(pairs)


def test_systemd_understands_it() -> None:
    """`systemd-analyze verify` has nothing to say, but what an old release says of what is younger."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    done = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False, timeout=60)
    said = [line for line in done.stderr.splitlines() if not any(f"'{name}'" in line for name in YOUNG)]
    assert (done.returncode, said) == (0, [])


def test_it_starts_a_command_of_ours() -> None:
    """The command line of the unit is one of Headwater, over the directory that systemd makes."""
    unit = settings()
    program, name, command, *options = shlex.split(unit["ExecStart"].removesuffix(" $HEADWATER_OPTIONS"))
    assert (program, name) == ("/usr/bin/env", "headwater")
    with headwater.make_context(name, [command, *options]) as context:
        found = headwater.get_command(context, command)
        assert found is not None
        found.make_context(command, options)
    assert unit["Environment"] == "HEADWATER_DATA=%S/" + unit["StateDirectory"]


def test_what_must_be_and_what_must_not() -> None:
    """It is told when the server serves; SmartModules need memory that is written and then run, and many addresses."""
    unit = settings()
    assert unit["Type"] == "notify"
    assert unit["WatchdogSec"]
    assert unit["KillSignal"] == "SIGTERM"
    assert unit["ProtectSystem"] == "strict"
    assert not {"MemoryDenyWriteExecute", "LimitAS", "LimitDATA"} & unit.keys()
