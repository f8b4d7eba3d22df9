"""A container engine of the tests' own: Debian's dockerd, with its directories and its socket in a temporary place.

Images cannot be had everywhere, so the base is made with debootstrap, from where this machine's apt gets its packages.
The engine touches no firewall and no bridge of the machine. It needs root, and packages that are installed only where
that is asked for: nobody's own machine is changed by running tests.
"""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ASKED = "HEADWATER_TEST_DOCKER"
# What is needed, and the package of Debian that has it.
TOOLS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "debootstrap": "debootstrap",
    "docker-compose": "docker-compose",
}
# The one for all file systems comes last: it copies every layer.
DRIVERS = ("overlay2", "vfs")
_OPTIONS = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false")
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_PATIENCE = 60


class NoEngineError(Exception):
    """There is no engine here; the text says what was tried and what came back."""


def refused(environment: Mapping[str, str], user: int) -> str | None:
    """Return why nothing is to be tried at all, None when it is."""
    if environment.get(ASKED, "") in {"", "0"} and environment.get("CI", "").lower() not in {"1", "true"}:
        return f"{ASKED}=1 asks for a container engine: it needs root, and installs {', '.join(packages())}"
    return None if user == 0 else "a container engine of the tests' own needs root"


def packages() -> list[str]:
    """Return the packages that have all tools."""
    return sorted(set(TOOLS.values()))


def pip_settings(listing: str) -> dict[str, str]:
    """Return the environment that says to pip what `pip config list` printed: where packages come from, and how.

    Files of this machine are not in an image, but for its certificate authorities.
    """
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        key = name.rpartition(".")[2]
        said = str(ast.literal_eval(value)) if separator else ""
        if key == "cert":
            said = _AUTHORITIES
        if said and (key == "cert" or not said.startswith("/")):
            found["PIP_" + key.upper().replace("-", "_")] = said
    return found


def done(
    command: list[str | Path], *, patience: float = _PATIENCE, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and return what it printed. Raises NoEngineError with what it said when it fails."""
    try:
        made = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=patience, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoEngineError(f"{' '.join(map(str, command))}: {error}") from error
    if made.returncode:
        said = (made.stderr.strip() or made.stdout.strip())[-2000:]
        raise NoEngineError(f"{' '.join(map(str, command))} ended with {made.returncode}: {said}")
    return made.stdout


def install() -> None:
    """Install the packages whose tools are missing. Raises NoEngineError."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        wait = ["-o", "DPkg::Lock::Timeout=120"]
        done(["apt-get", "update", "-qq"], patience=300, environment=environment)
        done(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wait, *missing],
            patience=600,
            environment=environment,
        )


class Engine:
    """An engine from entering to leaving it; entering raises NoEngineError. `environment` is that of its clients."""

    def __init__(self) -> None:
        # Short: the paths of its sockets have at most 107 bytes.
        self.place = Path(tempfile.mkdtemp(prefix="engine-"))
        self.driver = ""
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_"))},
            "DOCKER_HOST": f"unix://{self.place}/docker.sock",
            # Nobody's own settings, and the builder that every release of the client has.
            "DOCKER_CONFIG": str(self.place / "config"),
            "DOCKER_BUILDKIT": "0",
        }
        self._process: subprocess.Popen[str] | None = None
        self._said: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        tried = []
        for self.driver in DRIVERS:
            if self._try(self.driver):
                return
            tried.append(f"--storage-driver={self.driver}: {' | '.join(self._said[-3:])}")
        raise NoEngineError("dockerd does not start. " + "; ".join([f"With {' '.join(_OPTIONS)} and", *tried]))

    def _try(self, driver: str) -> bool:
        root = self.place / driver
        self._process = subprocess.Popen(
            [
                *("dockerd", "--host", self.environment["DOCKER_HOST"], "--pidfile", root / "pid"),
                *("--data-root", root / "data", "--exec-root", root / "exec", "--storage-driver", driver),
                # Beside an engine of the machine, whose containerd it may share.
                *(
                    "--containerd-namespace",
                    "headwater-test",
                    "--containerd-plugins-namespace",
                    "headwater-test-plugins",
                ),
                *_OPTIONS,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._said = []
        told = threading.Event()
        self._reading = threading.Thread(target=self._read, args=(self._process, told), daemon=True)
        self._reading.start()
        if told.wait(_PATIENCE) and self._process.poll() is None and "API listen on" in self._said[-1]:
            return True
        self._end()
        return False

    def _read(self, process: subprocess.Popen[str], told: threading.Event) -> None:
        """Read what the engine says, to its end; tell when it listens or ends."""
        assert process.stderr is not None
        for line in process.stderr:
            if not told.is_set():
                self._said.append(line.strip())
            if "API listen on" in line:
                told.set()
        told.set()

    def run(self, *arguments: str | Path, patience: float = _PATIENCE) -> str:
        """Run `docker` and return what it printed. Raises NoEngineError when it fails."""
        return done(["docker", *arguments], patience=patience, environment=self.environment).strip()

    def base(self) -> str:
        """Make an image of Debian with Python, and return its name. Raises NoEngineError."""
        targets = done(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
        )
        mirror, release = next(
            (uri, codename)
            for uri, codename, component in (line.split() for line in targets.splitlines())
            if component == "main" and "-" not in codename
        )
        root = self.place / "base"
        wanted = "--include=python3,python3-venv,ca-certificates"
        done(["debootstrap", "--variant=minbase", wanted, release, root, mirror], patience=600)
        authorities = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        if authorities:
            shutil.copyfile(authorities, root / _AUTHORITIES.lstrip("/"))
        settings = pip_settings(done([sys.executable, "-m", "pip", "config", "list"]))
        changes = [f"--change=ENV {name}={value!r}" for name, value in settings.items()]
        archive = self.place / "base.tar"
        done(["tar", "-C", root, "-cf", archive, "."], patience=300)
        shutil.rmtree(root)
        self.run("import", *changes, archive, "headwater-base", patience=300)
        archive.unlink()
        return "headwater-base"

    def build(self, sources: Path, base: str, name: str) -> str:
        """Build the Dockerfile of a directory and return what that printed. Raises NoEngineError."""
        proxies = [f"--build-arg={name}" for name in _PROXIES if name in os.environ]
        return self.run(
            "build", "--network=host", f"--build-arg=BASE={base}", *proxies, "--tag", name, sources, patience=900
        )

    def close(self) -> None:
        """End all containers and the engine, and remove what they have left."""
        try:
            if self._process is not None and self._process.poll() is None:
                containers = self.run("ps", "--all", "--quiet").split()
                if containers:
                    self.run("rm", "--force", "--volumes", *containers)
        finally:
            self._end()
            self._unmount()
            shutil.rmtree(self.place)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reading.join(_PATIENCE)
        assert process.stderr is not None
        process.stderr.close()

    def _unmount(self) -> None:
        """Unmount what the engine leaves mounted, the last first: its directories could not be removed."""
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for path in reversed(mounted):
            if Path(path).is_relative_to(self.place):
                done(["umount", "--lazy", path])
