"""The options of `headwater up`: what they take, and what is said about what they do not. Nothing is served here."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.up import command


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("cats.example", "cats.example", None),
        ("cats.example:4711", "cats.example", 4711),
        ("192.0.2.1:4711", "192.0.2.1", 4711),
        ("[2001:db8::1]:4711", "2001:db8::1", 4711),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("2001:db8::1", "2001:db8::1", None),
        ("::1", "::1", None),
    ],
)
def test_the_address_for_others(given: str, host: str, port: int | None) -> None:
    """Hosts by name and number, with a port and without, as people write them."""
    assert command.make_context("up", ["--advertise", given]).params["advertise"] == (host, port)


WRONG = [
    (["--advertise", "cats.example:"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", "cats.example:port"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", "cats.example:0"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", "cats.example:65536"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", ":9005"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", ""], "is not of the form HOST or HOST:PORT"),
    (["--advertise", "http://cats.example"], "is not of the form HOST or HOST:PORT"),
    (["--advertise", "[::1"], "is not of the form HOST or HOST:PORT"),
    (["--sc-port", "65536"], "65536 is not in the range"),
    (["--sc-port", "x"], "'x' is not a valid integer"),
    (["--spu-port", "-1"], "-1 is not in the range"),
    (["--sc-port", "4711", "--spu-port", "4711"], "--sc-port and --spu-port"),
    (["--tls-cert", "{cert}"], "--tls-cert and --tls-key go together"),
    (["--tls-key", "{key}"], "--tls-cert and --tls-key go together"),
    (["--client-ca", "{ca}"], "--client-ca needs --tls-cert and --tls-key"),
    (["--tls-cert", "{missing}", "--tls-key", "{key}"], "does not exist"),
    (["--log-level", "loud"], "'loud' is not one of"),
    (["--listen", ""], "--listen"),
    (["topic"], "unexpected extra argument"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[" ".join(options) for options, _ in WRONG])
def test_wrong_options(tmp_path: Path, options: list[str], message: str) -> None:
    """What cannot be is refused as wrong usage, before anything is opened."""
    files = {name: tmp_path / name for name in ("cert", "key", "ca", "missing")}
    for name in ("cert", "key", "ca"):
        files[name].write_text(name)
    given = [option.format(**files) for option in options]
    done = CliRunner().invoke(command, [*given, "--data-dir", str(tmp_path / "data")])
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not (tmp_path / "data").exists()
