"""`${{ secrets.NAME }}`: found, put in, and masked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import load_text
from headwater.config.document import read_documents
from headwater.config.secrets import insert, parse_secrets, secret_source
from headwater.core.errors import ConfigError
from headwater.core.secret import Text


def inserted(text: str, known: dict[str, str]) -> tuple[object, list[str]]:
    (root,), _ = read_documents(text, "f")
    problems = insert(root, known, "f")
    return root.plain(), [problem.render() for problem in problems]


@pytest.mark.parametrize(
    "expression", ["${{ secrets.KEY }}", "${{secrets.KEY}}", "${{ secrets['KEY'] }}", '${{ secrets["KEY"] }}']
)
def test_every_way_of_naming_a_secret(expression: str) -> None:
    """The real text is revealed only on request; what is shown is masked."""
    value, problems = inserted(f"a: |-\n  Bearer {expression}!\n", {"KEY": "s3cret"})
    assert not problems
    assert isinstance(value, dict)
    text = value["a"]
    assert isinstance(text, Text)
    assert (text.reveal(), str(text)) == ("Bearer s3cret!", "Bearer ***!")
    assert "s3cret" not in repr(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${{ secrets.KEX }}", "f:1:1: error: a: there is no secret 'KEX'; did you mean 'KEY'?"),
        (
            "a: ${{ env.KEY }}",
            "f:1:1: error: a: ${{ env.KEY }} is not an expression that is known here; use ${{ secrets.NAME }}",
        ),
        (
            "a: 'x ${% if %}'",
            "f:1:1: error: a: blocks and comments of templates are not supported; use ${{ secrets.NAME }}",
        ),
        ("a: '${{ secrets.KEY'", "f:1:1: error: a: ${{ is not closed by }}"),
    ],
)
def test_what_is_no_secret_is_a_problem(text: str, message: str) -> None:
    """Unknown names and other expressions are told with their place."""
    assert inserted(text, {"KEY": "s3cret"})[1] == [message]


def test_a_secret_cannot_become_yaml() -> None:
    """A value that looks like YAML stays one text."""
    value, _ = inserted("a: ${{ secrets.KEY }}", {"KEY": "x\nb: 2"})
    assert value == {"a": Text("x\nb: 2")}


def test_the_file_of_secrets() -> None:
    """First of a name, trimmed, with = in values; comments and other lines are passed over."""
    assert parse_secrets("A = 1=2 \n# A=3\n\nA=4\nnonsense\nB=\n") == {"A": "1=2", "B": ""}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message names the option and the file."""
    with pytest.raises(ConfigError, match=r"--secrets .*nothing.*No such file"):
        secret_source(tmp_path / "nothing")


@given(st.text(min_size=8), st.text())
def test_values_never_show(secret: str, around: str) -> None:
    """Neither what is shown nor what is wrong holds the value."""
    if secret in around or secret in "Bearer ***":
        return
    value, problems = inserted("a: Bearer ${{ secrets.KEY }}\nb: ${{ secrets.NO }}", {"KEY": secret})
    assert isinstance(value, dict)
    assert secret not in str(value["a"]) + repr(value["a"]) + "".join(problems)


def test_a_directory_of_secrets(tmp_path: Path) -> None:
    """Each file is a secret of its name, taken as it is, links too; what is not named like one is left alone."""
    versions = tmp_path / "..2026"
    versions.mkdir()
    (versions / "PEM").write_text(" two\nlines = x\n")
    (tmp_path / "..data").symlink_to(versions)
    (tmp_path / "PEM").symlink_to(Path("..data") / "PEM")
    (tmp_path / ".hidden").write_text("x")
    source = secret_source(tmp_path)
    assert source.get("PEM") == " two\nlines = x\n"
    assert source.get(".hidden") is None
    (tmp_path / "BINARY").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        secret_source(tmp_path)


def test_credentials_in_the_open_are_masked_too() -> None:
    """Who writes a password into the URL, or a token into a header, does not see it anywhere else."""
    text = """
name: a
topic: b
parameters:
  endpoint: http://user:in-the-url@x/
  headers: {Authorization: Bearer in-a-header, X-API-Key: in-another, X-Open: nothing-secret}
"""
    masker = load_text(text).connectors[0].masker
    assert masker.mask("in-the-url in-a-header in-another nothing-secret") == "*** *** *** nothing-secret"
