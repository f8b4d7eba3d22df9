"""Real servers and proxies of Debian, each started for one test from a configuration in its directory.

Where a program is missing its tests are skipped, except in CI, where they fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        # With the children that it may have.
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
    directory: Path, port: int, certificate: Path, key: Path, site: str, protocols: str = "h1 h2 h3"
) -> Iterator[None]:
    """Serve a site over TLS, with HTTP/3 on the UDP port of the same number."""
    program = need("caddy")
    config = directory / "Caddyfile"
    config.write_text(
        "{\nadmin off\nauto_https off\nskip_install_trust\ndefault_sni localhost\n"
        f"servers {{\nprotocols {protocols}\n}}\n}}\n"
        f"https://:{port} {{\ntls {certificate} {key}\n{site}\n}}\n"
    )
    environment = ["env", f"HOME={directory}", f"XDG_DATA_HOME={directory}", f"XDG_CONFIG_HOME={directory}"]
    ports = () if protocols == "h3" else (port,)
    with running([*environment, program, "run", "--config", config, "--adapter", "caddyfile"], directory, *ports):
        yield


@contextmanager
def squid(
    directory: Path, port: int, rules: str = "http_access allow all", *, more: str = "", ports: Sequence[int] = ()
) -> Iterator[None]:
    """Be an HTTP proxy."""
    program = need("squid")
    config = directory / "squid.conf"
    user = "cache_effective_user root" if os.geteuid() == 0 else ""
    config.write_text(
        f"http_port 127.0.0.1:{port}\n{more}\n{rules}\nhttp_access deny all\ncache deny all\npid_filename none\n"
        f"access_log none\ncache_log {directory}/cache.log\ncoredump_dir {directory}\n{user}\n"
        "shutdown_lifetime 0 seconds\nvisible_hostname proxy.example\nnetdb_filename none\nicon_directory /\n"
        "workers 0\ndns_v4_first on\nhosts_file /etc/hosts\n"
    )
    with running([program, "-N", "-f", config], directory, port, *ports):
        yield


def password_checker(directory: Path) -> Path:
    """Return a program that tells squid whether a user and a password are right: user and s3cret."""
    program = directory / "checker"
    program.write_text(
        f"#!{sys.executable} -Su\nimport sys\nfor line in sys.stdin:\n"
        "    print('OK' if line.split() == ['user', 's3cret'] else 'ERR', flush=True)\n"
    )
    program.chmod(0o755)
    return program


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
    rule = "from: 0.0.0.0/0 to: 0.0.0.0/0"
    config.write_text(
        f"logoutput: {directory}/dante.log\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\n"
        f"clientmethod: none\nuser.unprivileged: root\nclient pass {{ {rule} }}\n"
        f"socks block {{ {rule} port = {blocked} }}\nsocks pass {{ {rule} }}\n"
    )
    with running([program, "-f", config, "-p", directory / "dante.pid"], directory, port):
        yield
