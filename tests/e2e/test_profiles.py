"""Profiles from the command line: list, current, switch, add, delete."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest
import trustme
import yaml

from commandline import CommandLine


@pytest.fixture
def file(headwater: CommandLine) -> Path:
    """Return where Fluvio's file of profiles is."""
    return headwater.directory / ".fluvio" / "config"


@pytest.fixture
def two(headwater: CommandLine, file: Path) -> CommandLine:
    """Return a command line with two profiles of Fluvio's."""
    file.parent.mkdir()
    file.write_text("""\
# mine
version = "2.0"
current_profile = "cloud"

[profile.local]
cluster = "local"

[profile.cloud]
cluster = "cloud"

[cluster.local]
endpoint = "127.0.0.1:9003"

[cluster.cloud]
endpoint = "sc.example.com:9003"
[cluster.cloud.tls]
tls_policy = "anonymous"
""")
    return headwater


def refused(headwater: CommandLine, *arguments: object, status: int = 3) -> str:
    """Return what a command that fails says; nothing is on standard output."""
    done = headwater.run("profile", *arguments)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    return done.stderr


def test_without_fluvio(headwater: CommandLine) -> None:
    """The embedded log is always there, and chosen."""
    assert headwater.good("profile", "list") == (
        "     PROFILE  CLUSTER       ADDRESS  TLS\n  *  local    embedded log  ~/data\n"
    )
    assert headwater.good("profile", "current") == "local\n"
    assert headwater.good("profile", "switch", "local") == (
        "switched to profile local, the embedded log: no profile of Fluvio is current\n"
    )
    assert refused(headwater, "switch", "cloud") == (
        "headwater: there is no profile 'cloud': ~/.fluvio/config does not exist\n"
        "  hint: 'headwater profile add cloud HOST:PORT' makes it\n"
    )
    assert refused(headwater, "delete", "cloud").startswith("headwater: there is no profile 'cloud': ~/.fluvio/config")


def test_list(two: CommandLine) -> None:
    """A * marks the one that commands talk to; what is listed can be typed."""
    assert two.good("profile", "list") == (
        "     PROFILE       CLUSTER       ADDRESS              TLS\n"
        "     local         embedded log  ~/data\n"
        "     fluvio:local  local         127.0.0.1:9003       Disabled\n"
        "  *  cloud         cloud         sc.example.com:9003  Anonymous\n"
    )
    told = json.loads(two.good("profile", "list", "-O", "json"))
    assert told == yaml.safe_load(two.good("profile", "list", "-O", "yaml"))
    assert told[2] == {
        "profile": "cloud",
        "cluster": "cloud",
        "address": "sc.example.com:9003",
        "tls": "Anonymous",
        "current": True,
    }
    assert [row["current"] for row in told] == [False, False, True]


def test_the_variable_goes_first(two: CommandLine) -> None:
    """$HEADWATER_PROFILE decides what is current, and a switch says that it does."""
    two.environment["HEADWATER_PROFILE"] = "fluvio:local"
    assert two.good("profile", "current") == "fluvio:local\n"
    done = two.run("profile", "switch", "cloud")
    assert (done.stdout, done.stderr) == (
        "switched to profile cloud\n",
        "headwater: $HEADWATER_PROFILE is fluvio:local, and goes before ~/.fluvio/config\n",
    )
    two.environment["HEADWATER_PROFILE"] = "clod"
    done = two.run("profile", "list")
    assert done.returncode == 0
    assert "*" not in done.stdout
    assert done.stderr == (
        "headwater: there is no profile 'clod' in ~/.fluvio/config (from $HEADWATER_PROFILE); did you mean 'cloud'?\n"
        "  hint: 'headwater profile list' shows those there are\n"
    )


def test_switch(two: CommandLine, file: Path) -> None:
    """One line of the file changes; `local` leaves none of Fluvio's current."""
    before = file.read_text()
    assert two.good("profile", "switch", "fluvio:local") == "switched to profile fluvio:local\n"
    assert file.read_text() == before.replace('current_profile = "cloud"', 'current_profile = "local"')
    assert two.good("profile", "current") == "fluvio:local\n"
    two.good("profile", "switch", "local")
    assert file.read_text() == before.replace('current_profile = "cloud"\n', "")
    assert two.good("profile", "current") == "local\n"
    assert refused(two, "switch", "clod") == (
        "headwater: there is no profile 'clod' in ~/.fluvio/config; did you mean 'cloud'?\n"
        "  hint: 'headwater profile list' shows those there are\n"
    )


def test_add(headwater: CommandLine, file: Path) -> None:
    """The file is made for its owner alone, and the profile is current unless told otherwise."""
    assert headwater.good("profile", "add", "cloud", "sc.example.com", "--tls", "anonymous") == (
        "profile cloud added (Fluvio at sc.example.com:9003), now the current one\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text()) == {
        "version": "2.0",
        "current_profile": "cloud",
        "profile": {"cloud": {"cluster": "cloud"}},
        "cluster": {
            "cloud": {
                "endpoint": "sc.example.com:9003",
                "use_spu_local_address": False,
                "tls": {"tls_policy": "anonymous"},
            }
        },
    }
    added = headwater.good("profile", "add", "fluvio:local", "[::1]:9103", "--no-switch", "--use-spu-local-address")
    assert added == "profile fluvio:local added (Fluvio at [::1]:9103)\n"
    assert headwater.good("profile", "current") == "cloud\n"
    assert tomllib.loads(file.read_text())["cluster"]["local"]["use_spu_local_address"] is True


def test_add_what_is_there(two: CommandLine, file: Path) -> None:
    """It is refused, unless it is to be replaced."""
    before = file.read_text()
    assert refused(two, "add", "cloud", "other:1") == (
        "headwater: there is a profile 'cloud' in ~/.fluvio/config already\n"
        "  hint: '--replace' gives it another address\n"
    )
    assert refused(two, "add", "local", "other:1") == (
        "headwater: the profile 'local' is the embedded log\n  hint: 'fluvio:local' is the one of Fluvio's file\n"
    )
    assert file.read_text() == before
    assert two.good("profile", "add", "cloud", "other:1", "--replace") == (
        "profile cloud replaced (Fluvio at other:1), now the current one\n"
    )
    assert "# mine" in file.read_text()


class Pem:
    """Certificates of a cluster's client in files."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        client = authority.issue_cert("me")
        self.key = client.private_key_pem.bytes().decode()
        for name, text in (
            ("ca.pem", authority.cert_pem.bytes()),
            ("cert.pem", client.cert_chain_pems[0].bytes()),
            ("key.pem", self.key.encode()),
            ("other.pem", authority.issue_cert("x").private_key_pem.bytes()),
        ):
            (directory / name).write_bytes(text)
        files = ("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-ca", "ca.pem")
        self.options = ("--tls-domain", "fluvio.test", *files)


def test_add_with_certificates(headwater: CommandLine, file: Path) -> None:
    """Their paths are kept whole, so that every directory finds them; `--inline` keeps what is in them."""
    pem = Pem(headwater.directory)
    headwater.good("profile", "add", "files", "host", *pem.options)
    certs = tomllib.loads(file.read_text())["cluster"]["files"]["tls"]["certs"]
    assert certs["key"] == str(headwater.directory / "key.pem")
    file.chmod(0o644)
    headwater.good("profile", "add", "inline", "host", "--tls", "verified", "--inline", *pem.options)
    certs = tomllib.loads(file.read_text())["cluster"]["inline"]["tls"]["certs"]
    assert certs["key"] == pem.key
    assert certs["domain"] == "fluvio.test"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [row["tls"] for row in json.loads(headwater.good("profile", "list", "-O", "json"))] == [
        "",
        "Verified",
        "Verified",
    ]


def test_a_profile_that_was_added_is_never_shown_with_its_key(headwater: CommandLine, file: Path) -> None:
    """No output and no error has a line of the key, also when the file is broken afterwards."""
    pem = Pem(headwater.directory)
    headwater.good("profile", "add", "inline", "host", "--inline", *pem.options)
    text = file.read_text()
    for broken in (text, text.replace('key = """', "key = "), text.replace('"inline"\n\n[', '"files"\n\n[')):
        file.write_text(broken)
        for command in (("list", "-O", "yaml"), ("switch", "inlin")):
            done = headwater.run("profile", *command)
            assert done.stdout + done.stderr
            assert not any(line in done.stdout + done.stderr for line in pem.key.splitlines())


def test_certificates_are_checked_when_they_are_given(headwater: CommandLine, file: Path) -> None:
    """Files that are missing, incomplete or do not belong together are told before anything is written."""
    pem = Pem(headwater.directory)
    add = ("add", "cloud", "host")
    other = [option.replace("key.pem", "other.pem") for option in pem.options]
    cert, key = headwater.directory / "cert.pem", headwater.directory / "other.pem"
    assert refused(headwater, *add, *other) == (
        f"headwater: the profile's key {key} is not the key of the profile's cert {cert}\n"
        "  hint: give the two that belong together\n"
    )
    for arguments, words in (
        (pem.options[:4], "Error: Verified TLS also needs --tls-key, --tls-ca.\n"),
        (("--tls", "verified"), "Error: Verified TLS also needs --tls-domain, --tls-cert, --tls-key, --tls-ca.\n"),
        (
            ("--tls", "anonymous", *pem.options),
            "Error: --inline and --tls-... are for --tls verified, which checks both sides.\n",
        ),
        (("--inline",), "Error: --inline and --tls-... are for --tls verified, which checks both sides.\n"),
        (
            [option.replace("fluvio.test", "*.x") for option in pem.options],
            "'*.x' is no domain that a certificate can have; write one such as fluvio.local.\n",
        ),
        (
            [option.replace("ca.pem", "gone.pem") for option in pem.options],
            "Error: Invalid value for '--tls-ca': File 'gone.pem' does not exist.\n",
        ),
    ):
        assert refused(headwater, *add, *arguments, status=2).endswith(words)
    for arguments, words in (
        (("cloud", "host:x"), "Error: 'host:x' has no port between 1 and 65535 behind its colon; write host:port.\n"),
        (("a\nb", "host"), "Error: the name of a profile is 1 to 255 printable characters.\n"),
    ):
        assert refused(headwater, "add", *arguments, status=2).endswith(words)
    assert not file.exists()


def test_delete(two: CommandLine, file: Path) -> None:
    """Deleting the current one says that none is, and what follows from it."""
    assert two.good("profile", "delete", "fluvio:local") == "profile fluvio:local deleted\n"
    assert two.good("profile", "delete", "cloud") == (
        "profile cloud deleted; it was the current one, and now commands talk to the embedded log\n"
    )
    assert tomllib.loads(file.read_text()) == {"version": "2.0", "profile": {}, "cluster": {}}
    assert file.read_text().startswith("# mine\n")
    assert two.good("profile", "current") == "local\n"
    assert refused(two, "delete", "cloud").startswith("headwater: there is no profile 'cloud' in ~/.fluvio/config\n")
    assert refused(two, "delete", "local") == (
        "headwater: the profile 'local' is the embedded log, which is always there\n"
        "  hint: 'fluvio:local' is the one of Fluvio's file\n"
    )


def test_profiles_that_lead_nowhere_are_listed(two: CommandLine, file: Path) -> None:
    """What is to be corrected is shown, and corrected."""
    file.write_text('current_profile = "lost"\n[profile.lost]\ncluster = "x"\n')
    done = two.run("profile", "list")
    assert "     lost     x             missing\n" in done.stdout
    assert "the profile 'lost' of ~/.fluvio/config names the cluster 'x', which is not there" in done.stderr
    two.good("profile", "add", "lost", "host", "--replace")
    assert two.good("profile", "current") == "lost\n"


def test_a_broken_file(two: CommandLine, file: Path) -> None:
    """Every command says where it is broken, and none of them touches it."""
    file.write_text("current_profile = [")
    for command in (("list",), ("current",), ("switch", "local"), ("add", "a", "b"), ("delete", "cloud")):
        assert refused(two, *command) == (
            "headwater: ~/.fluvio/config: not TOML: Invalid value (at end of document)\n"
            "  hint: correct the file, or go without it: --profile local\n"
        )
    assert file.read_text() == "current_profile = ["


def test_fluvios_variable_names_the_file(headwater: CommandLine) -> None:
    """$FLV_PROFILE_PATH is obeyed, and a file that it names must be there."""
    path = headwater.directory / "elsewhere" / "config"
    headwater.environment["FLV_PROFILE_PATH"] = str(path)
    assert refused(headwater, "current").startswith(
        "headwater: ~/elsewhere/config does not exist, and $FLV_PROFILE_PATH names it\n"
    )
    headwater.good("profile", "add", "cloud", "host")
    assert path.exists()
    assert headwater.good("profile", "current") == "cloud\n"
