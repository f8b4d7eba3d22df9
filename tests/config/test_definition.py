import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import InvalidConfigError, SecretSource, define_files, define_text, load_definition
from headwater.config.definition import split_documents, take_secrets_out

PAGE = """\
# é: positions count characters
name: cat-facts
type: http
topic: facts
secrets:
  PLAIN: plain-hush # a comment
  QUOTED: "quoted-hush"
  BLOCK: |
    block-hush
  ELSEWHERE:
parameters:
  endpoint: http://localhost/${{ secrets.PLAIN }}/${{ secrets.ELSEWHERE }}
  headers:
    x: ${{ secrets.ASKED }}
"""
TODAY = """\
apiVersion: 0.1.0
meta: {name: dogs, type: http-source, topic: dogs, version: 1, secrets: [{name: TOKEN}]}
http: {endpoint: "http://localhost/${{ secrets.TOKEN }}"}
"""
SOURCE = SecretSource({"ELSEWHERE": "other-hush", "ASKED": "asked-hush", "TOKEN": "token", "UNUSED": "no"}, "a test")


def test_a_definition_keeps_text_and_secrets_apart() -> None:
    """No value of a declared secret is in the text, and text and secrets together mean what the file meant."""
    defined = define_text(f"{PAGE}---\n{TODAY}", secrets=SOURCE)
    cats, dogs = defined.definitions
    assert (cats.name, dogs.name) == ("cat-facts", "dogs")
    assert cats.secrets == {
        "PLAIN": "plain-hush",
        "QUOTED": "quoted-hush",
        "BLOCK": "block-hush\n",
        "ELSEWHERE": "other-hush",
        "ASKED": "asked-hush",
    }
    assert dogs.secrets == {"TOKEN": "token"}
    assert "hush" not in cats.text
    assert "# a comment" in cats.text
    assert "hush" not in repr(defined.definitions)
    for definition, config in zip(defined.definitions, defined.connectors, strict=True):
        again = load_definition(definition)
        assert again.model_dump() == config.model_dump()
        assert again.http.endpoint.reveal() == config.http.endpoint.reveal()
    with pytest.raises(InvalidConfigError, match="PLAIN"):
        define_text(cats.text, secrets=SOURCE)


def test_definitions_know_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in a definition begin where its file is, wherever it is used."""
    monkeypatch.chdir(tmp_path)
    Path("one.yml").write_text(PAGE)
    (definition,) = define_files(["one.yml"], secrets=SOURCE).definitions
    assert definition.file == str(tmp_path / "one.yml")
    assert load_definition(definition).place.file == str(tmp_path / "one.yml")


def test_each_file_is_read_once(tmp_path: Path) -> None:
    """What is defined is what was loaded, whoever writes the file, or deletes it, in between."""
    fifo = tmp_path / "one.yml"
    os.mkfifo(fifo)
    with ThreadPoolExecutor() as writer:
        written = writer.submit(fifo.write_text, PAGE)
        (definition,) = define_files([fifo], secrets=SOURCE).definitions
        written.result()
    assert definition.name == "cat-facts"


def test_a_mark_of_the_byte_order_moves_no_value() -> None:
    """Texts as some editors save them are cut in the right places too."""
    (definition,) = define_text(f"\ufeff{PAGE}", secrets=SOURCE).definitions
    assert definition == define_text(PAGE, secrets=SOURCE).definitions[0]


def test_the_pages_misprint_is_kept_corrected() -> None:
    """What is stored of the page's own example has the line that the page forgot."""
    text = Path("examples/page-verbatim.yml").read_text()
    defined = define_text(text)
    assert "parameters:\n" not in text
    assert "parameters:\n" in defined.definitions[0].text
    assert [problem.warning for problem in defined.warnings] == [True]
    assert load_definition(defined.definitions[0]).model_dump() == defined.connectors[0].model_dump()


@pytest.mark.parametrize("secrets", ["{A: hush-1, B: 'hush-2'}", "\n  A: >-\n    hush-1\n  B: hush-2"])
def test_every_way_to_write_a_value(secrets: str) -> None:
    """Values are found in flow maps and folded blocks too, and what is left is YAML."""
    text, values = take_secrets_out(f"name: a\nsecrets: {secrets}\ntopic: t\n")
    assert values == {"A": "hush-1", "B": "hush-2"}
    assert "hush" not in text
    assert take_secrets_out(text) == (text, {})


@pytest.mark.parametrize("nothing", ["~", "null", "Null", "NULL", ""])
def test_a_value_that_is_none_is_looked_up(nothing: str) -> None:
    """Nothing in any of YAML's words is no value, as for `headwater run`."""
    (definition,) = define_text(
        PAGE.replace("plain-hush", nothing),
        secrets=SecretSource({"PLAIN": "given", "ELSEWHERE": "x", "ASKED": "y"}, "a test"),
    ).definitions
    assert definition.secrets["PLAIN"] == "given"


@pytest.mark.parametrize(
    "written",
    [
        "x: &v hush\nsecrets:\n  A: *v\n",
        "secrets:\n  A: &v hush\n  B: *v\n",
        "secrets:\n  A: &v hush\nx: {y: [*v]}\n",
    ],
)
def test_a_value_that_stands_elsewhere_is_refused(written: str) -> None:
    """An alias would leave the value in the text, or the text without its anchor."""
    with pytest.raises(InvalidConfigError, match=r"secrets\.[AB]"):
        take_secrets_out(written)


def test_documents_are_cut_where_yaml_cuts_them() -> None:
    """Markers count at the beginning of a line only; documents of comments alone are none."""
    text = "%YAML 1.2\n--- # first\na: |\n  ---\n  b\n...\n---\n# nothing\n---\r\nb: '--- '\n---\n"
    assert split_documents(text) == ["a: |\n  ---\n  b\n", "b: '--- '\n"]


@given(st.lists(st.text(alphabet="aZ09-_ :#'\"\\é\n", max_size=12), min_size=1, max_size=4))
def test_any_value_comes_back(values: list[str]) -> None:
    """Whatever the values are, quoted as JSON, they are found whole, and none of them stays."""
    import json  # noqa: PLC0415 - only here

    written = "".join(f"  S{place}: {json.dumps(value)}\n" for place, value in enumerate(values))
    text, found = take_secrets_out(f"name: a\nsecrets:\n{written}topic: t\n")
    assert found == {f"S{place}": value for place, value in enumerate(values) if value}
    assert text.startswith("name: a\n")
    assert text.endswith("topic: t\n")
    assert all(f"S{place}: ~\n" in text for place, value in enumerate(values) if value)
