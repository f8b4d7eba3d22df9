"""Installs the Autobahn test-suite into a folder: hundreds of cases that a client of WebSockets is put through.

Run as `python tests/autobahn/install.py FOLDER`. It is a program for Python 2.7; without that nothing is installed, and
the tests that need it are skipped. Starting it is what `server` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
"""Everything that goes into the folder, each of one version."""

INTERPRETER = ".interpreter"
"""The file in the folder that says it is whole, and with which interpreter it runs."""

_NAME = "python2.7"
_LONGEST = 60


def _candidates() -> Iterator[str]:
    """Yield where a Python 2.7 may be: where PYTHON2 says, on the path, among the versions of pyenv."""
    yield os.environ.get("PYTHON2", "")
    yield shutil.which(_NAME) or ""
    if shutil.which("pyenv"):
        for version in _said(["pyenv", "versions", "--bare"]).split():
            if version.startswith("2.7."):
                yield str(Path(_said(["pyenv", "prefix", version])) / "bin" / _NAME)


def find_python() -> str | None:
    """Return a Python 2.7 that has pip, None when there is none."""
    for candidate in _candidates():
        if candidate and _said([candidate, "-m", "pip", "--version"]).endswith("(python 2.7)"):
            return candidate
    return None


def _said(command: list[str]) -> str:
    """Return what a command says, nothing when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def main(folder: Path) -> int:
    """Install into the folder; return the exit status, which is 0 as well when there is no Python 2.7.

    The folder appears under its name only when it is whole.
    """
    python = find_python()
    if python is None:
        print("The Autobahn test-suite is not installed, and its tests are skipped: no Python 2.7.", file=sys.stderr)
        return 0
    print("Installing the Autobahn test-suite (once, a few seconds) ...", file=sys.stderr)
    half = folder.with_name(f"{folder.name}-half-{os.getpid()}")
    pip = [python, "-W", "ignore", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", str(half), "--requirement", str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        (half / INTERPRETER).write_text(python)
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)
    else:
        shutil.rmtree(half, ignore_errors=True)
        print(f"The Autobahn test-suite cannot be installed:\n{done.stderr}", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
