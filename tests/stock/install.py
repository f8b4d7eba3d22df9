"""Fetches stock Fluvio clients of several versions into a folder, one sub-folder each, for tests to talk to.

Run as `python tests/stock/install.py FOLDER`; what is there already stays. Starting them is what `client` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

PYPI = {
    "0.21.0": ["humanfriendly==10.0"],
    "0.20.0": ["humanfriendly==10.0"],
    "0.18.1": ["humanfriendly==10.0"],
    "0.17.0": [],
    "0.16.5": [],
    "0.16.0": [],
}
"""Versions of the Python client `fluvio`, with what each really imports: far less than it declares."""

NPM = ["0.14.9"]
"""Versions of the Node client `@fluvio/client`; 0.13.0 crashes in any connection under Node 20."""

COMPLETE = ".complete"
"""The file that says a sub-folder is whole; it names what it was made for."""

_MODULE = "node_modules/@fluvio/client/dist"


def _interpreter() -> str:
    """Return what a sub-folder of the Python client depends on."""
    return f"{sys.implementation.cache_tag} {sys.platform}"


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command; return why it failed, or nothing."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if done.returncode == 0:
        return ""
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    telling = [line for line in said if "error" in line.lower()]
    return (telling or said or [f"exit status {done.returncode}"])[-1]


def _python(version: str, folder: Path) -> str:
    """Install a Python client into a folder and try to import it; return why that failed, or nothing."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]
    where = ["--no-deps", "--only-binary=:all:", "--target", str(folder)]
    return _run([*pip, *where, f"fluvio=={version}", *PYPI[version]]) or _run(
        [sys.executable, "-c", "import fluvio"], {"PYTHONPATH": str(folder)}
    )


def _node(version: str, folder: Path) -> str:
    """Install a Node client into a folder and try to load it; return why that failed, or nothing.

    Its scripts are left out: all they do is to compile a thin TypeScript wrapper with a compiler that the package does
    not bring, which fails. The native module, which is the client, is in the package.
    """
    (folder / "package.json").write_text('{"private": true}\n')
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    failure = _run([*npm, "--prefix", str(folder), f"@fluvio/client@{version}"])
    if failure:
        return failure
    others = "linux" if sys.platform == "darwin" else "darwin"
    shutil.rmtree(folder / _MODULE / others, ignore_errors=True)
    platform = "darwin" if sys.platform == "darwin" else "linux"
    return _run(["node", "-e", f"require({str((folder / _MODULE / platform / 'index.node').resolve())!r})"])


def _install(root: Path, name: str, stamp: str, fill: Callable[[Path], str]) -> bool:
    """Fill a sub-folder unless it is whole; it appears under its name only when it is."""
    target, half = root / name, root / f".half-{name}"
    if (target / COMPLETE).is_file() and (target / COMPLETE).read_text() == stamp:
        return True
    shutil.rmtree(half, ignore_errors=True)  # of a run that was interrupted
    half.mkdir(parents=True)
    failure = fill(half)
    if failure:
        shutil.rmtree(half)
        print(f"The stock client {name} cannot be had: {failure}", file=sys.stderr)
        return False
    (half / COMPLETE).write_text(stamp)
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
    return True


def main(root: Path) -> int:
    """Install all that can be had; the exit status says whether every Python client is there."""
    whole = [_install(root, version, _interpreter(), partial(_python, version)) for version in PYPI]
    if shutil.which("npm") and shutil.which("node"):
        for version in NPM:
            _install(root, f"npm-{version}", sys.platform, partial(_node, version))
    else:
        print("The stock clients for Node are left out: there is no npm here.", file=sys.stderr)
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
