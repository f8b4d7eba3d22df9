"""`headwater up` on the command line: ports, addresses, certificates, signals, and what is said about wrong input."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from commandline import CommandLine
from headwater.server.server import SC_PORT, SPU_PORT
from log.test_faults import IN_A_NAMESPACE
from server.running import started

FREE = ("--sc-port", 0, "--spu-port", 0)


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """Return files of a certificate, its key, its authority, and nonsense."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca", "nonsense", "missing")}
    paths["cert"].write_bytes(made.cert_chain_pems[0].bytes())
    made.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["ca"]))
    paths["nonsense"].write_text("nonsense")
    return paths


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def test_the_help(headwater: CommandLine) -> None:
    """The help names every option, what it is for, and the defaults."""
    text = headwater.good("up", "--help")
    for option in ("--listen", "--sc-port", "--spu-port", "--advertise", "--tls-cert", "--tls-key", "--client-ca"):
        assert option in text
    for word in (str(SC_PORT), str(SPU_PORT), "127.0.0.1", "Ctrl-C", "--data-dir"):
        assert word in text
    assert " up " in headwater.good("--help")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals(headwater: CommandLine, number: signal.Signals, status: int) -> None:
    """Ctrl-C ends it with 130 as every command, SIGTERM with 0; both in peace, and the directory is free again."""
    for _ in range(2):
        process = headwater.start("up", *FREE)
        said = started(process)
        assert said.before == []
        with socket.create_connection(("127.0.0.1", said.sc_port)):
            code, out, error = headwater.stop(process, number)
        assert (code, out, error) == (status, "", "")


def test_usual_ports_that_are_taken(headwater: CommandLine, tmp_path: Path) -> None:
    """Two servers on one machine find ports for both, and say which; the usual ones are for the first."""
    (tmp_path / "other").mkdir()
    other = CommandLine(tmp_path / "other")
    try:
        first, second = started(headwater.start("up")), started(other.start("up"))
        assert {first.sc_port, first.spu_port}.isdisjoint({second.sc_port, second.spu_port})
        for said in (first, second):
            with socket.create_connection(("127.0.0.1", said.sc_port)):
                pass
    finally:
        other.close()


@pytest.mark.parametrize("option", ["--sc-port", "--spu-port"])
def test_a_port_that_is_taken(headwater: CommandLine, taken: int, option: str) -> None:
    """A port that was asked for and is taken is an error that says what to do."""
    done = headwater.run("up", *FREE, option, taken)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}: " in done.stderr
    assert "in use" in done.stderr.lower()
    assert "hint: choose another with --sc-port and --spu-port" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_servers_on_one_directory(headwater: CommandLine) -> None:
    """The second server on a data directory is told who has it, before it takes any port."""
    process = headwater.start("up", *FREE)
    said = started(process)
    done = headwater.run("up", *FREE)
    assert done.returncode == 4
    assert str(process.pid) in done.stderr
    assert str(headwater.data) in done.stderr
    with socket.create_connection(("127.0.0.1", said.sc_port)):
        pass


def test_all_addresses_without_tls(headwater: CommandLine, certificates: dict[str, Path]) -> None:
    """Whoever lets the world in is warned; not with TLS and certificates of clients."""
    process = headwater.start("up", *FREE, "--listen", "0.0.0.0")
    said = started(process)
    (warning,) = [json.loads(line) for line in said.before]
    assert warning["level"] == "warning"
    assert "anybody who reaches this machine" in warning["event"]
    assert "--tls-cert" in warning["hint"]
    assert said.endpoint.startswith("127.0.0.1:")
    headwater.stop(process)
    tls = ("--tls-cert", certificates["cert"], "--tls-key", certificates["key"])
    process = headwater.start("up", *FREE, "--listen", "0.0.0.0", *tls, "--client-ca", certificates["ca"])
    assert started(process).before == []


def test_wrong_usage(headwater: CommandLine) -> None:
    """What cannot be is refused as wrong usage, before anything is opened."""
    done = headwater.run("up", "--advertise", "cats.example:")
    assert done.returncode == 2
    assert "'cats.example:' is not of the form HOST or HOST:PORT" in done.stderr
    assert not headwater.data.exists()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "message"),
    [
        ("nonsense", "key", "ca", "nonsense.pem with the key"),
        ("cert", "nonsense", "ca", "cert.pem with the key"),
        ("key", "cert", "ca", "key.pem with the key"),
        ("cert", "key", "nonsense", "the certificates of"),
    ],
)
def test_bad_certificates(
    headwater: CommandLine, certificates: dict[str, Path], cert: str, key: str, ca: str, message: str
) -> None:
    """Certificates that cannot be used are errors that name the files."""
    files = ("--tls-cert", certificates[cert], "--tls-key", certificates[key], "--client-ca", certificates[ca])
    done = headwater.run("up", *FREE, *files)
    assert done.returncode == 1
    assert message in done.stderr
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid", "127.0.0.1:9003"])
def test_addresses_that_are_not_ours(headwater: CommandLine, host: str) -> None:
    """An address that this machine does not have is an error that names it."""
    done = headwater.run("up", *FREE, "--listen", host)
    assert done.returncode in {1, 2}
    assert host in done.stderr
    assert "--listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be(headwater: CommandLine, tmp_path: Path) -> None:
    """A data directory that cannot be used is an error of its own kind."""
    (tmp_path / "file").write_text("x")
    done = headwater.run("up", *FREE, "--data-dir", tmp_path / "file" / "below")
    assert done.returncode == 4
    assert str(tmp_path / "file") in done.stderr


def test_a_disk_that_becomes_read_only(headwater: CommandLine) -> None:
    """It still stops in peace: sockets that stay are in nobody's way."""
    probe = subprocess.run([*IN_A_NAMESPACE, "mount --bind /tmp /tmp"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no mounts in a namespace: {probe.stderr.strip()}")
    script = (
        '"$0" -m headwater up --sc-port 0 --spu-port 0 2> said & '
        "until grep -q serving said && test -S data/control.sock; do kill -0 $! || exit 9; done; "
        "mount --bind data data && mount -o remount,ro,bind data && kill $! && wait $!"
    )
    done = subprocess.run(
        [*IN_A_NAMESPACE, script, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=headwater.environment,
        cwd=headwater.directory,
    )
    said = (headwater.directory / "said").read_text()
    assert (done.returncode, "Traceback" in said) == (0, False), said
    assert (headwater.data / "control.sock").exists()
    process = headwater.start("up", "--sc-port", 0, "--spu-port", 0)
    started(process)
    assert headwater.good("connector", "list") == "no managed connectors\n"
