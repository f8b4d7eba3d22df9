"""Secrets that say where they come from: a file, a variable, a command; in both dialects, and only from own files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from headwater.config import InvalidConfigError, SecretSource, define_files, load_definition, load_files, load_text
from headwater.config import origin as origins
from headwater.config.origin import Origin, obtain
from headwater.core.errors import ConfigError
from headwater.core.managed import Definition

PAGE = "name: a\ntopic: b\nparameters: {{endpoint: 'http://x/${{{{ secrets.TOKEN }}}}'}}\nsecrets: {}\n"
TODAY = """\
apiVersion: 0.1.0
meta: {{name: a, topic: b, type: http-source, secrets: {}}}
http: {{endpoint: 'http://x/${{{{ secrets.TOKEN }}}}'}}
"""


def token(text: str, source: SecretSource | None = None) -> str:
    config = load_text(text, secrets=source).connectors[0]
    assert config.masker.mask(config.http.endpoint.reveal()) == "http://x/***"
    return config.http.endpoint.reveal().removeprefix("http://x/")


def problem(text: str, source: SecretSource | None = None) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text, secrets=source)
    return str(caught.value)


@pytest.mark.parametrize(
    "form",
    [PAGE.format("{TOKEN: {SAID}}"), PAGE.format("[{name: TOKEN, SAID}]"), TODAY.format("[{name: TOKEN, SAID}]")],
)
@pytest.mark.parametrize("said", ["file: {path}", "env: OTHER_NAME", "command: [printf, 's3cret\\n']"])
def test_each_origin_in_each_form(form: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's and a command's last line break is dropped; the environment is looked at under the other name."""
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("OTHER_NAME", "s3cret")
    monkeypatch.setenv("TOKEN", "not this one")
    assert token(form.replace("SAID", said.format(path=tmp_path / "token"))) == "s3cret"


def test_only_the_last_line_break_is_dropped(tmp_path: Path) -> None:
    """What stands in the file besides is the secret's."""
    for written, meant in (("a b \n", "a b "), ("a\r\n", "a"), ("\na\n\n", "\na\n"), ("-", "-")):
        (tmp_path / "token").write_bytes(written.encode())
        assert obtain(Origin("file", (str(tmp_path / "token"),))) == meant


def test_a_file_is_read_again_at_each_start(tmp_path: Path) -> None:
    """Whoever rotates a secret starts the connector again."""
    path = tmp_path / "token"
    text = PAGE.format(f"[{{name: TOKEN, file: {path}}}]")
    for value in ("first-one", "second-one"):
        path.write_text(value)
        assert token(text) == value


def test_paths_begin_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the connect.yml, a command works there, and ~ is the home directory."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "token").write_text("beside")
    (folder / "c.yml").write_text(PAGE.format("[{name: TOKEN, file: token}, {name: HERE, command: [cat, ./token]}]"))
    config = load_files([folder / "c.yml"]).connectors[0]
    assert config.http.endpoint.reveal() == "http://x/beside"
    monkeypatch.setenv("HOME", str(folder))
    assert obtain(Origin("file", ("~/token",))) == "beside"


def test_what_is_given_for_this_run_comes_first(tmp_path: Path) -> None:
    """A value of --secrets needs neither the file nor the command."""
    source = SecretSource({"TOKEN": "given-now"}, "tests.env")
    for said in ("file: /nothing/here", "command: ['false']", "env: NOT_SET_ANYWHERE"):
        assert token(PAGE.format(f"[{{name: TOKEN, {said}}}]"), source) == "given-now"
    assert "NOT_SET_ANYWHERE is not set" in problem(PAGE.format("[{name: TOKEN, env: NOT_SET_ANYWHERE}]"))


def test_a_command_runs_once_for_all(tmp_path: Path) -> None:
    """Connectors that are loaded together share what a command prints, and its failure."""
    trace = tmp_path / "trace"
    said = f"[{{name: TOKEN, command: [sh, -c, 'echo run >> {trace}; echo s3cret']}}]"
    text = "---\n".join(PAGE.format(said).replace("name: a\n", f"name: a{number}\n") for number in range(3))
    (tmp_path / "c.yml").write_text(text)
    defined = define_files([tmp_path / "c.yml"])
    assert trace.read_text() == "run\n"
    assert [definition.secrets for definition in defined.definitions] == [{"TOKEN": "s3cret"}] * 3


def test_a_managed_connector_keeps_the_value(tmp_path: Path) -> None:
    """What is kept of a connector has the value apart; nothing is read or run for it again, whatever its text says."""
    (tmp_path / "c.yml").write_text(PAGE.format(f"[{{name: TOKEN, file: {tmp_path}/token}}]"))
    (tmp_path / "token").write_text("s3cret\n")
    (definition,) = define_files([tmp_path / "c.yml"]).definitions
    (tmp_path / "token").unlink()
    assert definition.secrets == {"TOKEN": "s3cret"}
    config = load_definition(definition)
    assert config.http.endpoint.reveal() == "http://x/s3cret"
    assert config.secret_origins == {"TOKEN": "file"}
    for said in (f"file: {tmp_path}/c.yml", f"command: [touch, {tmp_path}/ran]", "env: PATH"):
        with pytest.raises(InvalidConfigError, match="is not looked for here, and the secret 'TOKEN' is not in"):
            load_definition(Definition("a", PAGE.format(f"[{{name: TOKEN, {said}}}]")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("file: [x]", "expected the path of a file; got a list"),
        ("env: 5", "expected the name of a variable; got a number"),
        ("env: A=B", "expected the name of a variable; got a text"),
        ("command: get token", "expected a list of texts: the program and its arguments; no shell reads it"),
        ("command: []", "expected a list of texts"),
        ("command: [sleep, 1]", "numbers in quotes"),
        ("file: x, env: Y", "there is file already; name one of file, env, command"),
        ("fil: x", "unknown key; did you mean 'file'?"),
        ("file: /nothing/here", "/nothing/here: No such file or directory; name a file that can be read"),
        ("file: /", "/ is no regular file"),
        ("command: [/nothing/here]", "/nothing/here cannot be started: No such file or directory"),
        ("command: [cat, /nothing/here]", "cat ended with status 1: cat: /nothing/here: No such file or directory"),
        ("command: [sh, -c, 'kill -9 $$']", "sh ended with signal 9"),
        ("command: ['true']", "the output of true is empty"),
        ("command: [printf, '\\377']", "the output of printf is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_told_in_its_place(said: str, message: str) -> None:
    """Each problem has its line, and what to do."""
    text = PAGE.format(f"\n  - name: TOKEN\n    {said.replace(', env', chr(10) + '    env')}")
    shown = problem(text)
    assert message in shown
    assert shown.startswith(("connect.yml:6:", "connect.yml:7:"))


def test_what_a_command_complains_is_masked() -> None:
    """A secret that it prints, or that is known already, is not in the message, nor are its arguments."""
    script = "echo s3cret-out; echo 'cannot use s3cret-out with s3cret-arg for known-one' >&2; exit 3"
    with pytest.raises(ConfigError) as caught:
        obtain(Origin("command", ("sh", "-c", script, "s3cret-arg")), ["known-one", "s3cret-arg"])
    assert str(caught.value).startswith("sh ended with status 3: cannot use *** with *** for ***")


def test_a_command_that_never_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its time is bounded, its children are ended with it, and one that leaves a child behind is not waited for."""
    monkeypatch.setattr(origins, "_PATIENCE", 0.5)
    with pytest.raises(ConfigError, match=r"sh did not end within 0\.5 s"):
        obtain(Origin("command", ("sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait")))
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 20
    # Gone, or not waited for yet by its new parent.
    while status.exists() and status.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
    monkeypatch.setattr(origins, "_PATIENCE", 30.0)
    began = time.monotonic()
    assert obtain(Origin("command", ("sh", "-c", "sleep 60 & echo s3cret"))) == "s3cret"
    assert time.monotonic() - began < 20


def test_a_command_that_prints_without_end() -> None:
    """Its output is bounded."""
    with pytest.raises(ConfigError, match="the output of yes has more than 1048576 bytes"):
        obtain(Origin("command", ("yes",)))
    with pytest.raises(ConfigError, match=r"sh ended with status 1: \.\.\."):
        obtain(Origin("command", ("sh", "-c", "yes x | head -c 300000 >&2; exit 1")))
