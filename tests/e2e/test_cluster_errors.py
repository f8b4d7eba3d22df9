"""What people do wrong with clusters, and what they are told: what was tried, on what, what came back, what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from commandline import CommandLine
from e2e.upcluster import Up

DISABLED, ANONYMOUS = 'tls_policy = "disabled"\n', 'tls_policy = "anonymous"\n'


def verified(directory: Path, authority: str) -> str:
    """Return TLS that checks both sides, by files."""
    lines = [f'{name} = "{directory / file}"' for name, file in (("key", "key.pem"), ("cert", "cert.pem"))]
    lines += [f'ca_cert = "{directory / authority}"', 'domain = "fluvio.test"']
    return "\n".join(['tls_policy = "verified"', 'tls_source = "files"', "[cluster.NAME.tls.certs]", *lines, ""])


def profile(name: str, endpoint: str, tls: str = DISABLED) -> str:
    """Return a profile as Fluvio's file has it."""
    cluster = f'[cluster.{name}]\nendpoint = "{endpoint}"\n[cluster.{name}.tls]\n{tls.replace("NAME", name)}'
    return f'[profile.{name}]\ncluster = "{name}"\n{cluster}'


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Return a command line with profiles: plain and TLS clusters, and all sorts of wrong ones."""
    made = CommandLine(tmp_path_factory.mktemp("errors"))
    directory = made.directory
    authority = trustme.CA()
    issued = authority.issue_cert("fluvio.test", "*.fluvio.test")
    (directory / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (directory / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (directory / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (directory / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
    plain = Up(made, directory / "plain")
    tls = Up(made, directory / "tls", "--tls-cert", directory / "cert.pem", "--tls-key", directory / "key.pem")
    made.environment |= {"PLAIN": plain.endpoint, "TLS": tls.endpoint, "SPU": f"127.0.0.1:{plain.spu_port}"}
    profiles = [
        profile("plain", plain.endpoint),
        profile("encrypted", tls.endpoint, ANONYMOUS),
        profile("verified", tls.endpoint, verified(directory, "ca.pem")),
        profile("distrusted", tls.endpoint, verified(directory, "other.pem")),
        profile("plain-to-tls", tls.endpoint),
        profile("tls-to-plain", plain.endpoint, ANONYMOUS),
        profile("refused", "127.0.0.1:1"),
        profile("nameless", "no-such-host.invalid:9003"),
        profile("spu", made.environment["SPU"]),
    ]
    (directory / ".fluvio").mkdir()
    (directory / ".fluvio" / "config").write_text('version = "2.0"\n' + "".join(profiles))
    made.good("topic", "create", "cats", "--profile", "plain")
    made.good("topic", "create", "small", "--profile", "plain", "--compression-type", "gzip")
    yield made
    made.close()
    for up in (plain, tls):
        up.close()


def told(line: CommandLine, profile: str, *command: object, given: str = "") -> tuple[int, str]:
    """Run a command that fails, and return its exit status and what it says below the line with the profile."""
    done = line.run(*command, "--profile", profile, given=given)
    first, _, rest = done.stderr.partition("\n")
    assert first.startswith(f"profile {profile} (Fluvio at ")
    assert "Traceback" not in rest
    return done.returncode, rest


@pytest.mark.parametrize("profile", ["encrypted", "verified"])
def test_clusters_with_tls(line: CommandLine, profile: str) -> None:
    """Both sorts of TLS carry everything: the SC and the SPU are spoken to."""
    name = f"over-{profile}"
    line.good("topic", "create", name, "--profile", profile)
    line.good("produce", name, "--profile", profile, given="a\n")
    assert line.good("consume", name, "-B", "-d", "--profile", profile) == "a\n"


AWAY = [
    (
        "refused",
        (
            "headwater: cannot connect to the SC at 127.0.0.1:1: connection refused\n"
            "  hint: is the cluster running, and is this its address?\n"
        ),
    ),
    ("nameless", "headwater: cannot connect to the SC at no-such-host.invalid:9003: the name does not resolve: "),
    (
        "spu",
        (
            "headwater: the SC at {SPU}: the server does not know API 1004\n"
            "  hint: a profile names the port of the SC, often 9003, not that of an SPU"
        ),
    ),
    (
        "plain-to-tls",
        (
            "headwater: the SC at {TLS} was connected: the server closed the connection\n"
            "  hint: is it a Fluvio port, and does it speak TLS as the profile says?\n"
        ),
    ),
    ("tls-to-plain", "headwater: cannot connect to the SC at {PLAIN}: the connection broke"),
    (
        "distrusted",
        (
            "headwater: cannot connect to the SC at {TLS}: its certificate is not accepted: "
            "unable to get local issuer certificate\n"
            "  hint: the profile's domain and ca_cert must fit the cluster's certificate\n"
        ),
    ),
]


@pytest.mark.parametrize(("profile", "words"), AWAY, ids=[profile for profile, _ in AWAY])
def test_clusters_that_cannot_be_reached(line: CommandLine, profile: str, words: str) -> None:
    """The address, what came back and a hint; 4 is the exit status."""
    code, said = told(line, profile, "topic", "list")
    assert (code, said[: len(words := words.format(**line.environment))]) == (4, words)


COMMANDS: list[tuple[object, ...]] = [
    ("topic", "create", "dogs"),
    ("topic", "delete", "cats"),
    ("produce", "cats"),
    ("consume", "cats"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(map(str, command)))
def test_every_command_says_that_the_cluster_is_away(line: CommandLine, command: tuple[object, ...]) -> None:
    assert told(line, "refused", *command, given="x\n") == (4, AWAY[0][1])


def test_connectors_end_when_the_cluster_is_away_at_the_start(line: CommandLine) -> None:
    """Run and http exit with 4, and poll nothing."""
    config = line.config("name: a\ntopic: a\nparameters:\n  endpoint: http://127.0.0.1:1/\n")
    flags = ("--endpoint", "http://127.0.0.1:1/", "--fluvio-topic", "a")
    for command in (("run", config), ("http", *flags)):
        done = line.run(*command, "--profile", "refused")
        assert (done.returncode, done.stderr) == (4, AWAY[0][1])


WRONG: list[tuple[tuple[object, ...], str, int, str]] = [
    (("consume", "mice"), "", 1, "headwater: topic not found: mice\n  hint: 'headwater topic list' shows those there"),
    (("produce", "mice"), "x\n", 1, "headwater: topic not found: mice\n  hint: 'headwater topic list' shows those"),
    (("topic", "describe", "mice"), "", 1, "headwater: topic not found: mice\n  hint: 'headwater topic list' shows"),
    (("topic", "delete", "mice"), "", 1, "headwater: cannot delete topic mice: topic not found: mice\n  hint: "),
    (("consume", "cats", "-p", "9", "-d"), "", 1, "headwater: partition not found: cats-9\n  hint: topic cats has"),
    (("produce", "cats", "-p", "9"), "x\n", 1, "headwater: topic cats has no partition 9; it has 1\n"),
    (("produce", "cats"), "x" * 3_000_000, 1, "headwater: a record of 3000000 bytes is too large for a request to"),
    (("produce", "cats", "-k", "=>"), "a=>b\nc\n", 2, "line 2 has no '=>' to part key and value"),
]


@pytest.mark.parametrize(("command", "given", "status", "words"), WRONG, ids=[words[:40] for *_, words in WRONG])
def test_what_a_cluster_refuses(
    line: CommandLine, command: tuple[object, ...], given: str, status: int, words: str
) -> None:
    """A sentence of one's own, never a trace."""
    code, said = told(line, "plain", *command, given=given)
    assert code == status
    assert words in said


def test_profiles_that_are_not_there(line: CommandLine) -> None:
    """Never another place in silence."""
    for command in COMMANDS[-2:]:
        done = line.run(*command, "--profile", "nope", given="x\n")
        assert (done.returncode, done.stderr) == (
            3,
            (
                "headwater: there is no profile 'nope' in ~/.fluvio/config\n"
                "  hint: 'headwater profile list' shows those there are\n"
            ),
        )
    line.environment["HEADWATER_PROFILE"] = "nope"
    done = line.run("topic", "list")
    del line.environment["HEADWATER_PROFILE"]
    assert (done.returncode, "(from $HEADWATER_PROFILE)" in done.stderr) == (3, True)


def test_a_compression_that_the_topic_does_not_allow(line: CommandLine) -> None:
    """The configuration is wrong, with its place in the file; nothing is polled."""
    config = line.config(
        "name: a\ntopic: small\nparameters:\n  endpoint: http://127.0.0.1:1/\nproducer:\n  compression: zstd\n"
    )
    done = line.run("run", config, "--profile", "plain")
    assert done.returncode == 3
    assert ":5:1: error: producer: the topic 'small' allows compression gzip, not zstd" in done.stderr


def locked(line: CommandLine, directory: Path) -> str:
    done = line.run("topic", "create", "x", "--data-dir", directory, "--profile", "local")
    assert done.returncode == 4
    return done.stderr


def test_a_dead_servers_socket_beside_another_holder(line: CommandLine, tmp_path: Path) -> None:
    """The holder is told, not the server that is dead."""
    up = Up(line, tmp_path / "held")
    up.kill()
    assert (tmp_path / "held" / "server.sock").is_socket()
    config = line.config("name: a\ntopic: a\nparameters:\n  endpoint: http://127.0.0.1:1/\n", "held.yml")
    running = line.start("run", config, "--profile", "local", "--data-dir", tmp_path / "held", "--log-format", "json")
    assert running.stderr is not None
    while json.loads(running.stderr.readline())["event"] != "running":
        pass
    said = locked(line, tmp_path / "held")
    assert f"is being written by process {running.pid} (" in said
    assert "hint: stop that process, or name another --data-dir" in said
    assert line.stop(running)[0] == 130
