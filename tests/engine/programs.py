"""Programs of Debian that tests log in at: Apache with its modules, and a realm of MIT Kerberos."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REALM, USER, PASSWORD = "TEST.HEADWATER", "alice", "the password: ü"
# What is looked for, and the package of Debian that has it.
APACHE = {"/usr/sbin/apache2": "apache2"}
KERBEROS = {
    "/usr/sbin/krb5kdc": "krb5-kdc",
    "/usr/sbin/kadmin.local": "krb5-admin-server",
    "/usr/bin/kinit": "krb5-user",
    "/usr/lib/apache2/modules/mod_auth_gssapi.so": "libapache2-mod-auth-gssapi",
}
_TUNNEL = ("proxy", "proxy_http", "proxy_wstunnel")
_MODULES = ("mpm_event", "authn_core", "authz_core", "authz_user", "auth_digest", "authn_file", "dir")
_PATIENCE = 20.0


def need(programs: dict[str, str]) -> None:
    """Skip where a program is missing; in CI that is a failure."""
    missing = sorted({package for path, package in programs.items() if not Path(path).exists()})
    if missing:
        said = f"apt-get install {' '.join(missing)}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"programs are missing: {said}")
        pytest.skip(said)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def open_directory() -> Iterator[Path]:
    """Give a directory that other users may read, and remove it."""
    path = Path(tempfile.mkdtemp(prefix="headwater-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _listening(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not listen: {process.communicate(timeout=5)}")


@contextmanager
def _running(*command: object, port: int, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        _listening(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Realm:
    """A Kerberos realm: its configuration, the user's keytab, and the keytab of HTTP/localhost."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "krb5.conf"
        self.user_keytab = directory / "user.keytab"
        self.http_keytab = directory / "http.keytab"

    def kinit(self, cache: Path) -> None:
        """Write a cache of tickets for the user."""
        environment = {**os.environ, "KRB5_CONFIG": str(self.config)}
        command = ["kinit", "-c", f"FILE:{cache}", "-k", "-t", str(self.user_keytab), USER]
        subprocess.run(command, check=True, env=environment, capture_output=True, timeout=_PATIENCE)


@contextmanager
def realm() -> Iterator[Realm]:
    """Run a realm of MIT Kerberos."""
    need(KERBEROS)
    with open_directory() as directory:
        made, port = Realm(directory), free_port()
        made.config.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
        )
        profile = directory / "kdc.conf"
        profile.write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n"
            f"[realms]\n {REALM} = {{\n"
            f"  database_name = {directory}/principal\n  key_stash_file = {directory}/stash\n  max_life = 1h\n }}\n"
            f"[logging]\n kdc = FILE:{directory}/kdc.log\n"
        )
        settings = {"KRB5_CONFIG": str(made.config), "KRB5_KDC_PROFILE": str(profile)}

        def run(*command: str) -> None:
            environment = {**os.environ, **settings}
            subprocess.run(command, check=True, env=environment, capture_output=True, timeout=_PATIENCE)

        run("/usr/sbin/kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        for query in (
            f"addprinc -randkey {USER}",
            f"ktadd -k {made.user_keytab} {USER}",
            "addprinc -randkey HTTP/localhost",
            f"ktadd -k {made.http_keytab} HTTP/localhost",
        ):
            run("/usr/sbin/kadmin.local", "-q", query)
        made.http_keytab.chmod(0o644)
        with _running("/usr/sbin/krb5kdc", "-n", port=port, **settings):
            yield made


@contextmanager
def apache(keytab: Path | None = None, behind: str = "") -> Iterator[str]:
    """Run Apache; give its URL. `/digest/` wants digest (MD5), `/gss/` Negotiate where there is a keytab.

    With `behind`, a ws URL, `ws` below either leads to that server.
    """
    need(APACHE)
    with open_directory() as directory:
        port = free_port()
        for name in ("digest", "gss"):
            (directory / name).mkdir()
            (directory / name / "index.html").write_text(f"hello {name}")
        secret = hashlib.md5(f"{USER}:the realm:{PASSWORD}".encode(), usedforsecurity=False).hexdigest()
        (directory / "passwords").write_text(f"{USER}:the realm:{secret}\n")
        modules = (*_MODULES, *(["auth_gssapi"] if keytab is not None else []), *(_TUNNEL if behind else []))
        lines = [
            f"ServerRoot {directory}",
            f"PidFile {directory}/pid",
            f"Listen 127.0.0.1:{port}",
            "ServerName localhost",
            *(["User nobody", "Group nogroup"] if os.geteuid() == 0 else []),
            *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules),
            f"ErrorLog {directory}/error.log",
            f"DocumentRoot {directory}",
            f"DefaultRuntimeDir {directory}",
            f"Mutex file:{directory}",
            "DirectoryIndex index.html",
            '<Location /digest>\nAuthType Digest\nAuthName "the realm"\nAuthDigestProvider file',
            f"AuthUserFile {directory}/passwords\nRequire valid-user\n</Location>",
        ]
        if behind:
            lines += [f"ProxyPass /{name}/ws {behind}" for name in ("digest", "gss")]
        if keytab is not None:
            lines += [
                f"<Location /gss>\nAuthType GSSAPI\nAuthName gss\nGssapiCredStore keytab:{keytab}",
                "GssapiAllowedMech krb5\nRequire valid-user\n</Location>",
            ]
        config = directory / "apache.conf"
        config.write_text("\n".join([*lines, ""]))
        with _running("/usr/sbin/apache2", "-f", config, "-DFOREGROUND", port=port):
            yield f"http://localhost:{port}"
