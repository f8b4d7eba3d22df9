"""Every mistake that a person can make in a connect.yml has its sentence, in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.config import InvalidConfigError, SecretSource, load_files, load_text
from headwater.config.secrets import secret_source
from headwater.core.errors import ConfigError

PAGE = "name: a\ntype: http\ntopic: b\nparameters:\n  endpoint: http://x/\n"
TODAY = "apiVersion: 0.1.0\nmeta:\n  name: a\n  type: http-source\n  topic: b\nhttp:\n  endpoint: http://x/\n"


# Aliases that unfold to far more than the file seems to hold.
BOMB = "a: &a [1, 1]\n" + "".join(f"c{number}: [{', '.join(['*a'] * 300)}]\n" for number in range(200))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # What stands where.
        ("just a text\n", "1:1: error: expected a connector, got a text; begin with `name:`"),
        ("- a\n- b\n", "1:1: error: expected a connector, got a list"),
        ("", "error: there is no connector in it; begin with `name:`"),
        ("# only a comment\n---\n", "error: there is no connector in it"),
        (PAGE + "topicc: x\n", "6:1: error: topicc: unknown key; did you mean 'topic'?"),
        (TODAY + "htttp: {}\n", "8:1: error: htttp: unknown key; did you mean 'http'?"),
        (TODAY.replace("  name: a\n", ""), "2:1: error: meta.name: it is required"),
        ("http: {endpoint: 'http://x/'}\n", "1:1: error: meta: it is required, with name, type and topic"),
        (TODAY.replace("0.1.0", "0.9"), "1:1: error: apiVersion: expected one of 0.0.0, 0.1.0, 0.2.0, got 0.9"),
        (PAGE.replace("parameters:\n  ", "parameters: x\n#"), "4:1: error: parameters: expected a map, got a text"),
        (PAGE + "direction: sink\n", "6:1: error: direction: expected source, got 'sink'"),
        (PAGE + "create_topic: perhaps\n", "6:1: error: create_topic: expected true or false; got 'perhaps'"),
        (PAGE + "name: c\n", "6:1: error: name: this key is there already, in line 1"),
        (PAGE + "create-topic: no\ncreate_topic: no\n", "7:1: error: create_topic: this key is there already, in line"),
        (PAGE + "? [a]\n: b\n", "error: this key is not a plain text"),
        # Topics as objects.
        (PAGE.replace("topic: b", "topic: {partition: {count: 2}}"), "3:1: error: topic: it needs a name"),
        (
            PAGE.replace("topic: b", "topic: {meta: {name: b}, retention: {tme: 1d}}"),
            "error: topic.retention.tme: unknown key; did you mean 'time'?",
        ),
        (
            PAGE.replace("topic: b", "topic: {meta: {name: b}, deduplication: {}}"),
            "topic.deduplication.bounds: it is required",
        ),
        (PAGE.replace("topic: b", "topic: {meta: {name: b}, partition: {count: 0}}"), "it must be at least 1; got 0"),
        (PAGE.replace("topic: b", "topic: Big_Topic"), "3:1: error: topic: 'Big_Topic' is no name; use"),
        (PAGE.replace("topic: b", "topic: Big_Topic"), "such as 'big-topic'"),
        # Values of options.
        (PAGE + "  method: FETCH\n", "6:3: error: parameters.method: expected one of GET, POST"),
        (PAGE + "  max_redirects: few\n", "error: parameters.max_redirects: expected a whole number; got 'few'"),
        (PAGE + "  max_body: [1]\n", "error: parameters.max_body: expected a size such as 64 MiB"),
        (PAGE + "  interval: {a: 1}\n", "error: parameters.interval: expected a duration such as 10s"),
        (PAGE + "  interval: 0\n", "error: parameters.interval: it must be 1ms at least"),
        (PAGE + "  cron: 0 0 30 2 *\n", "error: parameters.cron: '0 0 30 2 *' "),
        (PAGE + "  cron: every day\n", "is no cron expression"),
        (PAGE + "  timezone: Europe/Berlinn\n", "'Europe/Berlinn' is no time zone"),
        (PAGE + "  interval: 1s\n  cron: '* * * * *'\n", "name either interval or cron"),
        (PAGE + "  spread: maybe\n", "error: parameters.spread: expected auto, true or false"),
        (PAGE + "  accept_status: [700]\n", "'700' is no "),
        (PAGE + "  accept_status: 299-200\n", "'299-200' is no range of statuses"),
        (PAGE + "  accept_content_type: json\n", "'json' is no media type; write application/json"),
        (PAGE + "  headers: [nonsense]\n", "expected 'Name: value' or 'Name=value'"),
        (PAGE + "  headers: {'a b': c}\n", "'a b' is no name of a header"),
        (PAGE + '  headers: {a: "b\\nX: c"}\n', "the value of a holds a line break"),
        (PAGE + "  headers: 5\n", "expected a map, or a list of 'Name: value'"),
        (PAGE + "  body: {a: 1}\n  form: {b: 2}\n", "name either body or form"),
        (PAGE + "  retry: 5\n", "error: parameters.retry: expected a map, got a number"),
        (PAGE + "  retry: {attempts: many}\n", "error: parameters.retry.attempts: expected a whole number"),
        (PAGE + "  stream: perhaps\n", "error: parameters.stream: expected true or false; got 'perhaps'"),
        (PAGE + "producer: {batch-size: huge}\n", "error: producer.batch-size: 'huge' is not a size"),
        # URLs.
        (PAGE.replace("http://x/", "x.example"), "does not begin with http://, https://, ws:// or wss://; write https://x.example"),
        (PAGE.replace("http://x/", "http://x:0/"), "names port 0"),
        (PAGE.replace("http://x/", "http://x:99999/"), "is no URL"),
        (PAGE.replace("http://x/", "'http:///path'"), "has no host"),
        (PAGE.replace("http://x/", f"http://{'ü' * 70}.example/"), "names a host that has no ASCII form"),
        (PAGE.replace("http://x/", "wsss://x/"), "does not begin with http://, https://, ws:// or wss://"),
        (PAGE.replace("http://x/", '"http://x/\\ta"'), "holds a line break, a tab or NUL"),
        (PAGE.replace("http://x/", ""), "5:3: error: parameters.endpoint: expected a text"),
        # Transforms.
        (PAGE + "transforms: {uses: a}\n", "6:1: error: transforms: expected a list; got a map"),
        (PAGE + "transforms: [{use: a}]\n", "error: transforms[0].use: unknown key; did you mean 'uses'?"),
        (PAGE + "transforms: [{uses: ''}]\n", "it must not be empty"),
        (PAGE + "transforms: [{uses: a, with: [1]}]\n", "expected a map of parameters"),
        # Secrets.
        (PAGE + "  body: ${{ secrets.A }\n", "error: parameters.body: ${{ is not closed by }}"),
        (PAGE + "  body: ${{ env.A }}\n", "is not an expression that is known here; use ${{ secrets.NAME }}"),
        (PAGE + "  body: ${% if x %}\n", "blocks and comments of templates are not supported"),
        (PAGE + "secrets: {bad-name!: x}\n", "is no name of a secret"),
        (PAGE + "  body: {secret: {nam: A}}\n", "expected the name of a secret; write {secret: {name: MY_SECRET}}"),
        (PAGE + "  body: {secret: {name: A}}\n", "there is no secret 'A'"),
        (TODAY.replace("meta:\n", "meta:\n  secrets: {A: b}\n"), "expected a list of names, got a map"),
        (TODAY.replace("meta:\n", "meta:\n  secrets: [A]\n"), "expected `name: MY_SECRET`"),
        # Hostile ones.
        (BOMB, "more than"),
        ("[" * 50 + "]" * 50, "levels"),
        # So deep that a reader which calls itself would end the process.
        ("[" * 200_000, "levels"),
        ("- " * 200_000, "levels"),
        ("{a: " * 200_000, "levels"),
        ("[" + "a," * 1_000_000, "more than 100000 values"),
        ("name: \x00\n", "this is not YAML"),
        # As standard input has bytes that are not UTF-8.
        ("name: \udcff\n", "this is not UTF-8 text (character 6)"),
        ("\tname: a\n", "this is not YAML"),
        ("name: 'a\n", "this is not YAML"),
    ],
)  # fmt: skip
def test_mistakes(text: str, said: str) -> None:
    """The problem has its place, the key, what was expected, and what to write instead."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text, secrets=SecretSource({}, "a test"))
    assert said in str(caught.value)
    assert all(line.startswith("connect.yml") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "text",
    [
        PAGE + "transforms:\n",
        PAGE + "version: 1.5\nconsumer: {partition: 0}\n",
        PAGE + "  spread: auto\n  accept_content_type: application/json, text/csv\n  accept_status: 2xx, 404\n",
        PAGE + "secrets: {A: 5}\n  # a comment\n",
        TODAY + "transforms: []\n",
        "\ufeff" + PAGE,
        PAGE.replace("\n", "\r\n"),
        PAGE.replace(
            "topic: b", "topic: {meta: {name: b}, partition: {count: 2, maps: []}, compression: {type: gzip}}"
        ),
    ],
)
def test_what_is_right_though_unusual(text: str) -> None:
    """These load."""
    assert load_text(text.removeprefix("\ufeff"), secrets=SecretSource({}, "a test")).connectors[0].name == "a"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Binary files, files in another encoding and directories that are none of ours are problems, not traces."""
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfigError, match=r"binary\.yml: error: the file is not UTF-8 text \(byte 0\)"):
        load_files([tmp_path])
    with pytest.raises(InvalidConfigError, match="the file cannot be read"):
        load_files([tmp_path / "binary.yml" / "below"])


def test_files_of_secrets(tmp_path: Path) -> None:
    """A file that is missing or not text is an error that names the flag."""
    assert secret_source(None).place == "the environment"
    path = tmp_path / "secrets"
    with pytest.raises(ConfigError, match=r"--secrets .*: No such file"):
        secret_source(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        secret_source(path)
    path.write_text("A=b=c\n# D=e\n")
    assert (secret_source(path).get("A"), secret_source(path).get("D")) == ("b=c", None)
    assert "b=c" not in repr(secret_source(path))
