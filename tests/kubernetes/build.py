"""Builds the control plane of the tests' cluster into a folder: etcd, API server and controllers in one binary.

Run as `python tests/kubernetes/build.py FOLDER`. Without Go nothing is built, and the tests that need it are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "controlplane"
"""The Go module. Its go.mod says which versions, its go.sum what they must contain."""

BINARY = "controlplane"
"""The name of the binary in the folder."""

_USUAL_GO = Path("/usr/local/go/bin/go")


def find_go() -> str | None:
    """Return where Go is, None when there is none: on the path, or where its own installer puts it."""
    return shutil.which("go") or (str(_USUAL_GO) if _USUAL_GO.is_file() else None)


def version() -> str:
    """Return the version of Kubernetes that go.mod asks for: `v1.35.4`."""
    asked = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert asked is not None, "go.mod requires no Kubernetes"
    return asked[1]


def main(folder: Path) -> int:
    """Build into the folder; return the exit status, which is 0 as well when there is no Go.

    The binary appears under its name only when it is whole. Go keeps what it has compiled, so a second build is quick.
    """
    go = find_go()
    if go is None:
        print("Kubernetes is not built, and tests that need it are skipped: there is no Go here.", file=sys.stderr)
        return 0
    print(f"Building Kubernetes {version()} for tests (once, some minutes) ...", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    half = folder.resolve() / f".half-{os.getpid()}"
    # Without symbols for debuggers, and without C: both only take time here.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={version()}"
    done = subprocess.run(
        [go, "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", flags, "-o", str(half), "."],
        cwd=SOURCE,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=False,
    )
    if done.returncode == 0:
        half.replace(folder / BINARY)
    half.unlink(missing_ok=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
