"""Real servers and proxies of Debian, each started for one test from a configuration in its directory.

Where a program is missing its tests are skipped, except in CI, where they fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

# The programs, and the packages that have them.
PACKAGES = {
    "nginx": "nginx-light",
    "caddy": "caddy",
    "squid": "squid",
    "microsocks": "microsocks",
    "danted": "dante-server",
}
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_PATIENCE = 20.0


def need(program: str) -> str:
    """Return where a program is; skip the test without it, or fail in CI."""
    found = shutil.which(program, path=_PLACES)
    if found is None:
        message = f"there is no {program}: apt-get install {PACKAGES[program]}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(message)
        pytest.skip(message)
    return found


def free_port() -> int:
    """Return a port that nobody has, of IPv4 and IPv6."""
    with socket.socket(socket.AF_INET6) as any_socket:
        any_socket.bind(("::", 0))
        return int(any_socket.getsockname()[1])


@contextmanager
def running(command: Sequence[str | Path], directory: Path, *ports: int) -> Iterator[None]:
    """Run a program until the block is left; the block begins when all its ports are open."""
    said = directory / f"{Path(command[0]).name}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + _PATIENCE
        while not all(map(_open, ports)):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        # With the children that it may have.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _open(port: int) -> bool:
    with socket.socket() as any_socket:
        return any_socket.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx(directory: Path, servers: str, *ports: int) -> Iterator[None]:
    """Serve what the `server` blocks say."""
    program = need("nginx")
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(
        f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"{user}\ndaemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log info;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{servers}\n}}\n"
    )
    with running([program, "-p", directory, "-e", directory / "error.log", "-c", config], directory, *ports):
        yield


@contextmanager
def caddy(
    directory: Path, port: int, certificate: Path, key: Path, site: str, *, tls: str = "", protocols: str = "h1 h2 h3"
) -> Iterator[None]:
    """Serve a site over TLS, with HTTP/3 on the UDP port of the same number. `tls` is said instead of the usual."""
    program = need("caddy")
    config = directory / "Caddyfile"
    config.write_text(
        "{\nadmin off\nauto_https off\nskip_install_trust\ndefault_sni localhost\n"
        f"servers {{\nprotocols {protocols}\n}}\n}}\n"
        f"https://:{port} {{\n{tls or f'tls {certificate} {key}'}\n{site}\n}}\n"
    )
    environment = ["env", f"HOME={directory}", f"XDG_DATA_HOME={directory}", f"XDG_CONFIG_HOME={directory}"]
    ports = () if protocols == "h3" else (port,)
    with running([*environment, program, "run", "--config", config, "--adapter", "caddyfile"], directory, *ports):
        yield


# Who is right, for squid: it asks by lines of a user and a password.
_CHECKER = """#!/bin/sh
while read -r user password; do
    if [ "$user $password" = "user s3cret" ]; then echo OK; else echo ERR; fi
done
"""


@contextmanager
def squid(
    port: int,
    *,
    tls_port: int = 0,
    certificate: tuple[Path, Path] | None = None,
    login: bool = False,
    forbidden: int = 1,
) -> Iterator[None]:
    """Be an HTTP proxy, with `tls_port` over TLS too; it connects to everything but one port.

    With `login` it wants one: user and s3cret.
    """
    program = need("squid")
    directory = Path(tempfile.mkdtemp(prefix="squid-"))
    try:
        rules = [f"acl bad port {forbidden}", "http_access deny bad"]
        if login:
            checker = directory / "checker"
            checker.write_text(_CHECKER)
            checker.chmod(0o755)
            rules += [f"auth_param basic program {checker}", "acl known proxy_auth REQUIRED", "http_access allow known"]
        else:
            rules.append("http_access allow all")
        if certificate is not None:
            paths = [shutil.copy(file, directory / name) for file, name in zip(certificate, ("c", "k"), strict=True)]
            rules.append(f"https_port 127.0.0.1:{tls_port} tls-cert={paths[0]} tls-key={paths[1]}")
        if os.geteuid() == 0:
            # It does not run as root.
            rules.append("cache_effective_user proxy")
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, "proxy")
        config = directory / "squid.conf"
        config.write_text(
            "\n".join(
                (
                    f"http_port 127.0.0.1:{port}",
                    *rules,
                    "http_access deny all",
                    "cache deny all",
                    "pid_filename none",
                    "access_log none",
                    f"cache_log {directory}/cache.log",
                    f"coredump_dir {directory}",
                    "shutdown_lifetime 0 seconds",
                    "visible_hostname proxy.example",
                    "netdb_filename none",
                    "",
                )
            )
        )
        config.chmod(0o644)
        with running(
            [program, "-N", "-d1", "-n", f"squid{port}", "-f", config],
            directory,
            port,
            *([tls_port] if tls_port else []),
        ):
            yield
    finally:
        shutil.rmtree(directory)


@contextmanager
def microsocks(directory: Path, port: int, *options: str) -> Iterator[None]:
    """Be a SOCKS5 proxy."""
    with running([need("microsocks"), "-i", "127.0.0.1", "-p", str(port), *options], directory, port):
        yield


@contextmanager
def dante(directory: Path, port: int, blocked: int) -> Iterator[None]:
    """Be a SOCKS4 and SOCKS5 proxy that connects to everything but one port."""
    program = need("danted")
    config = directory / "danted.conf"
    rule = "from: 0/0 to: 0/0"
    config.write_text(
        f"logoutput: {directory}/dante.log\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\n"
        f"clientmethod: none\nuser.unprivileged: root\nclient pass {{ {rule} }}\n"
        f"socks block {{ {rule} port = {blocked} }}\nsocks pass {{ {rule} }}\n"
    )
    with running([program, "-f", config, "-p", directory / "dante.pid"], directory, port):
        yield
