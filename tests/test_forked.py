"""What is forked is a process as any other, and nothing is forked where that does not come to the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forked

ABOUT = """
import json, os, signal, sys, threading
print(json.dumps({
    "name": __name__, "file": __file__, "main": sys.modules["__main__"].__file__, "flags": list(sys.flags),
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(), "environment": dict(os.environ),
    "parent": os.getppid(), "group": os.getpgid(0) == os.getpid(), "threads": threading.active_count(),
    "descriptors": sorted(set(os.listdir("/proc/self/fd")) - {"3"}),
    "signals": [str(signal.getsignal(number)).split(" at ")[0] for number in sorted(signal.valid_signals())],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "buffering": [sys.stdout.line_buffering, sys.stdout.write_through, sys.stdout.encoding, sys.stderr.line_buffering],
    "given": sys.stdin.read(),
}))
print("headwater.config" in sys.modules)
"""
ENDS = [
    ("print('buffered', end=''); raise SystemExit(3)", (3, "buffered")),
    ("import os; os.kill(os.getpid(), 9)", (-signal.SIGKILL, "")),
    ("import os; os.abort()", (-signal.SIGABRT, "")),
    ("import atexit; atexit.register(print, 'last'); 1 / 0", (1, "last\n")),
    ("import threading, time; threading.Timer(0.01, print, ['a thread']).start()", (0, "a thread\n")),
    ("class Held:\n    def __del__(self): print('held')\nheld = Held()", (0, "held\n")),
]


Popen: tuple[type[subprocess.Popen[str]], ...] = (forked.Popen, subprocess.Popen)


def ran(
    made: type[subprocess.Popen[str]], directory: Path, script: str, given: str = "", **options: Any
) -> tuple[int, str, str]:
    """Run a script as a module; return its status and its outputs."""
    (directory / "script.py").write_text(script)
    options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with made([sys.executable, "-m", "script", "--one", "two"], text=True, cwd=directory, **options) as process:
        out, error = process.communicate(given, timeout=30)
    return process.returncode, out, error


@pytest.mark.parametrize("group", [None, 0])
def test_a_fork_is_what_a_new_process_is(tmp_path: Path, group: int | None) -> None:
    """A module sees the same of its process, and of nobody else's."""
    environment = {**os.environ, "CATS": "2", "NOT_UTF8": os.fsdecode(b"\xff")}
    abouts = []
    for made in Popen:
        status, out, error = ran(made, tmp_path, ABOUT, "meow", env=environment, process_group=group)
        assert (status, error) == (0, "")
        about, imported = out.splitlines()
        abouts.append(json.loads(about))
        assert imported == str(made is forked.Popen and not forked.FRESH)
    assert abouts[0] == abouts[1]
    assert (abouts[0]["parent"], abouts[0]["given"], abouts[0]["environment"]["CATS"]) == (os.getpid(), "meow", "2")


@pytest.mark.parametrize(("script", "end"), ENDS)
def test_it_ends_as_a_new_one_does(tmp_path: Path, script: str, end: tuple[int, str]) -> None:
    """Status, signal, what is printed last and the traceback are those of a process started anew."""
    forks, anew = (ran(made, tmp_path, script) for made in Popen)
    assert forks[:2] == anew[:2] == end
    assert forks[2].splitlines()[-2:] == anew[2].splitlines()[-2:]


def test_it_is_a_child(tmp_path: Path) -> None:
    """It is signalled and waited for by its number, and leaves nothing behind."""
    (tmp_path / "waits.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    for number in (signal.SIGKILL, signal.SIGTERM):
        with forked.Popen([sys.executable, "-m", "waits"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            assert process.poll() is None
            process.send_signal(number)
            assert os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]) == -number
            assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"env": {**os.environ, "PYTHONOPTIMIZE": "1"}},
        {"env": {**os.environ, "LC_ALL": "C"}},
        {"start_new_session": True},
        {"umask": 0o077},
    ],
    ids=["PYTHONOPTIMIZE", "LC_ALL", "start_new_session", "umask"],
)
def test_what_only_a_new_process_can_be(tmp_path: Path, options: dict[str, Any]) -> None:
    """What Python reads at its start, and what is rarely asked of `subprocess`, is what it was asked for."""
    assert ran(forked.Popen, tmp_path, ABOUT, **options)[1].splitlines()[1] == "False"


def test_directories_and_commands_that_are_not_there(tmp_path: Path) -> None:
    """What cannot be started is told as `subprocess` tells it."""
    with pytest.raises(FileNotFoundError):
        forked.Popen([sys.executable, "-m", "headwater"], cwd=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        forked.Popen([str(tmp_path / "nothing"), "-m", "headwater"])


def test_nothing_is_forked_on_request() -> None:
    """The variable by which everything is started anew is the one that `make test-long` sets."""
    name = "HEADWATER_TEST_FRESH=1"
    assert name in (Path(__file__).parents[1] / "Makefile").read_text()
    command = ["env", name, sys.executable, "-c", "import forked; raise SystemExit(7 if forked.FRESH else 0)"]
    assert subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode == 7
