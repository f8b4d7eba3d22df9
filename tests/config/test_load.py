"""From files, texts and flags to typed connectors, or to all problems at once."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import ConnectorConfig, InvalidConfigError, SecretSource, from_options, load_files, load_text
from headwater.core.secret import Text

ROOT = Path(__file__).parents[2]
NO_SECRETS = SecretSource({}, "nowhere")

PAGE = """\
name: cat-facts
type: http
topic: cat-facts
parameters:
"""
TODAY = """\
apiVersion: 0.1.0
meta:
  name: cat-facts
  type: http-source
  topic: cat-facts
  version: 0.5.0
http:
"""


def one(
    text: str, *, secrets: dict[str, str] | None = None, overrides: dict[str, str] | None = None
) -> ConnectorConfig:
    (config,) = load_text(text, secrets=SecretSource(secrets or {}, "a test"), overrides=overrides).connectors
    return config


def problems(text: str, *, secrets: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text, secrets=SecretSource(secrets or {}, "a test"))
    return [problem.render() for problem in caught.value.problems]


def page(options: str) -> ConnectorConfig:
    return one(f"{PAGE}  endpoint: http://x/y\n  {options}\n")


def wrong(options: str) -> str:
    (problem,) = problems(f"{PAGE}  endpoint: http://x/y\n  {options}\n")
    return problem


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yml")), ids=lambda path: str(path.stem))
def test_every_example_loads(example: Path) -> None:
    """What stands in examples/ is right."""
    assert load_files([example], secrets=SecretSource({"API_TOKEN": "s3cret"}, "a test")).connectors


def test_the_page_as_printed_runs_with_a_warning() -> None:
    """The page's text lacks `parameters:`; it loads as if it did not, and the warning shows the corrected lines."""
    loaded = load_files([ROOT / "examples" / "page-verbatim.yml"])
    (config,), (warning,) = loaded.connectors, loaded.warnings
    assert str(config.http.endpoint) == "https://catfact.ninja/fact"
    assert config.interval == timedelta(seconds=10)
    assert warning.warning
    assert warning.line == 7
    assert "    direction: source\n    parameters:\n      endpoint: https://catfact.ninja/fact\n      interval: 10" in (
        warning.render()
    )


def test_the_misprint_keeps_the_users_lines() -> None:
    """Problems below the inserted line name the lines of the file as it is."""
    text = (ROOT / "examples" / "page-verbatim.yml").read_text().replace("interval: 10", "intervall: 10")
    assert problems(text)[-1] == "connect.yml:9:3: error: parameters.intervall: unknown key; did you mean 'interval'?"


def test_the_verbatim_example_is_the_text_of_the_page() -> None:
    """The example has the page's nine lines, comment included."""
    lines = (ROOT / "examples" / "page-verbatim.yml").read_text().splitlines()
    assert lines[0] == "# connect.yml"
    assert lines[6:] == ["direction: source", "  endpoint: https://catfact.ninja/fact", "  interval: 10"]


def test_both_dialects_make_one_model() -> None:
    """The same connector in both forms differs in nothing but the default interval."""
    old = one(f"{PAGE}  endpoint: http://x/y\n  interval: 5\n")
    new = one(f"{TODAY}  endpoint: http://x/y\n  interval: 5s\n")
    assert old.http == new.http
    assert old.topic == new.topic
    assert (old.name, old.interval) == (new.name, new.interval)


def test_the_default_interval_is_the_dialects() -> None:
    """300 s on the page, 10 s today."""
    assert one(f"{PAGE}  endpoint: http://x/y\n").interval == timedelta(seconds=300)
    assert one(f"{TODAY}  endpoint: http://x/y\n").interval == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("10", 10), ("10s", 10), ("150ms", 0.15), ("1m 30s", 90), ("'7'", 7), ("0.5", 0.5), ("1h", 3600)],
)
def test_intervals(written: str, seconds: float) -> None:
    """A bare number is seconds; units are humantime's."""
    assert page(f"interval: {written}").interval == timedelta(seconds=seconds)


def test_kebab_and_snake_case() -> None:
    """Options can be written either way."""
    text = "output-type: json\n  output_parts: full\n  user-agent: me\n  accept-status: 404\n  max-body: 1 MiB"
    http = page(text).http
    assert (http.output_type, http.output_parts, str(http.user_agent)) == ("json", "full", "me")
    assert (http.accept_status, http.max_body) == (((404, 404),), 1024 * 1024)


@pytest.mark.parametrize(
    "written",
    [
        "headers: ['A: b', 'C=d:e', 'A: f=g']",
        "headers: {A: [b, f=g], C: 'd:e'}",
    ],
)
def test_headers_as_list_or_map(written: str) -> None:
    """Lists may use either sign; maps may repeat a name with a list."""
    assert sorted(page(written).http.headers, key=str) == [("A", Text("b")), ("A", Text("f=g")), ("C", Text("d:e"))]


def test_params() -> None:
    """Parameters are a map of scalars or lists, in the order written."""
    assert [(name, str(value)) for name, value in page("params: {b: 1, a: [x, true]}").http.params] == [
        ("b", "1"),
        ("a", "x"),
        ("a", "true"),
    ]


def test_smart_connector_options_are_kept() -> None:
    """filter, map and arraymap load, under parameters; so do transforms with their parameters as texts."""
    config = one(
        f"{PAGE}  endpoint: http://x/y\n  filter: f\n  map: m\n  arraymap: a\n"
        "transforms:\n  - uses: infinyon/jolt@0.4.1\n    with:\n      spec: [{b: 1, a: [x]}]\n      plain: text\n"
    )
    assert (config.filter, config.map, config.arraymap) == ("f", "m", "a")
    (step,) = config.transforms
    assert {name: value.reveal() for name, value in step.with_.items()} == {
        "spec": '[{"a":["x"],"b":1}]',
        "plain": "text",
    }


def test_a_topic_object_of_0_2_0() -> None:
    """Partitions, retention and compression of the newest form are taken over."""
    topic = one(
        "apiVersion: 0.2.0\nmeta:\n  name: a\n  type: http-source\n  version: 0.1.0\n  topic:\n    version: 0.1.0\n"
        "    meta: {name: t}\n    partition: {count: 3, max-size: 1 GB}\n    retention: {time: 1d}\n"
        "    compression: {type: gzip}\nhttp:\n  endpoint: http://x/y\n"
    ).topic
    assert (topic.name, topic.partitions, topic.max_partition_size) == ("t", 3, 10**9)
    assert (topic.retention_time, topic.compression) == (timedelta(days=1), "gzip")


def test_producer_options() -> None:
    """linger, batch-size and compression are read as Fluvio writes them."""
    config = one(
        f"{PAGE}  endpoint: http://x/y\nproducer:\n  linger: 1ms\n  batch-size: 44.0 MB\n  compression: gzip\n"
    )
    assert (config.producer.batch_size, config.producer.compression) == (44_000_000, "gzip")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("intervall: 5", "connect.yml:6:3: error: parameters.intervall: unknown key; did you mean 'interval'?"),
        ("interval: soon", "connect.yml:6:3: error: parameters.interval: 'soon' is not a duration"),
        ("interval: 0", "connect.yml:6:3: error: parameters.interval: it must be 1ms at least"),
        ("interval: -5", "connect.yml:6:3: error: parameters.interval: -5 is negative"),
        ("interval: [1]", "connect.yml:6:3: error: parameters.interval: expected a duration"),
        ("method: GIT", "connect.yml:6:3: error: parameters.method: expected one of GET,"),
        ("headers: 5", "connect.yml:6:3: error: parameters.headers: expected a map, or a list"),
        ("headers: [abc]", "connect.yml:6:3: error: parameters.headers: expected 'Name: value'"),
        ("headers: {'a b': c}", "connect.yml:6:3: error: parameters.headers: 'a b' is no name of a header"),
        (
            'headers: {a: "b\\r\\nc: d"}',
            "connect.yml:6:3: error: parameters.headers: the value of a holds a line break",
        ),
        ("output_type: jsn", "connect.yml:6:3: error: parameters.output_type: expected one of text, json; got 'jsn'"),
        ("accept_status: 99", "connect.yml:6:3: error: parameters.accept_status: '99' is no status"),
        ("accept_status: 700-799", "connect.yml:6:3: error: parameters.accept_status: '700-799' is no range"),
        ("max_body: huge", "connect.yml:6:3: error: parameters.max_body: 'huge' is not a size"),
        ("conditional: maybe", "connect.yml:6:3: error: parameters.conditional: expected true or false; got 'maybe'"),
        ("retry: {attempts: 0}", "connect.yml:6:11: error: parameters.retry.attempts: it must be at least 1; got 0"),
        (
            "retry: {initail: 1}",
            "connect.yml:6:11: error: parameters.retry.initail: unknown key; did you mean 'initial'?",
        ),
        ("retry: 5", "connect.yml:6:3: error: parameters.retry: expected a map, got a number"),
        ("cron: '99 * * * *'", "connect.yml:6:3: error: parameters.cron: '99 * * * *' is no cron expression"),
        ("cron: '0 0 30 2 *'", "connect.yml:6:3: error: parameters.cron: '0 0 30 2 *' is no cron expression"),
        ("{cron: '* * * * *', interval: 5}", "name either interval or cron"),
        ("timezone: Mars/Base", "connect.yml:6:3: error: parameters.timezone: 'Mars/Base' is no time zone"),
        ("stream: perhaps", "connect.yml:6:3: error: parameters.stream: expected true or false"),
        (
            "accept_content_type: json",
            "connect.yml:6:3: error: parameters.accept_content_type: 'json' is no media type",
        ),
        ("user-agent: a\n  user_agent: b", "connect.yml:7:3: error: parameters.user_agent: this key is there already"),
    ],
)
def test_wrong_options(options: str, problem: str) -> None:
    """Each problem names file, line, column, key, what was expected, and the nearest right name."""
    if options.startswith("{"):
        assert (
            problem
            in problems(PAGE.replace("parameters:\n", f"parameters: {options[:-1]}, endpoint: 'http://x'}}\n"))[0]
        )
    else:
        assert wrong(options).startswith(problem)


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (
            "catfact.ninja/fact",
            "'catfact.ninja/fact' does not begin with http://, https://, ws:// or wss://; write https://catfact.ninja/fact",
        ),
        ("ftp://x/y", "does not begin with http://, https://, ws:// or wss://"),
        ("http://", "has no host"),
        ("http:///fact", "has no host"),
        ("http://x:99999/", "is no URL"),
        ("'http://a b/'", "has no host"),
        ("wss://x/#a", "has a fragment, which the URL of a WebSocket has not"),
        ("[a]", "expected a text"),
    ],
)
def test_wrong_endpoints(endpoint: str, message: str) -> None:
    """A URL that cannot be requested is told before anything starts."""
    (problem,) = problems(f"{PAGE}  endpoint: {endpoint}\n")
    assert problem.startswith("connect.yml:5:3: error: parameters.endpoint: ")
    assert message in problem


def test_missing_values() -> None:
    """What is required is named, in both dialects, all at once."""
    told = "\n".join(problems("type: http\n"))
    for key in ("name: it is required", "topic: it is required", "parameters.endpoint: it is required"):
        assert key in told
    told = "\n".join(problems("apiVersion: 0.1.0\nmeta:\n  type: http-source\nhttp:\n  interval: 5s\n"))
    for key in ("meta.topic: it is required", "http.endpoint: it is required"):
        assert key in told


def test_everything_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    """Problems of several files and documents are all told, sorted by place."""
    (tmp_path / "b.yml").write_text(
        f"{PAGE}  endpoint: http://x/\n  method: GIT\n---\nname: UPPER\ntopic: t\nparameters: {{}}\n"
    )
    (tmp_path / "a.yaml").write_text("- just a list\n")
    (tmp_path / "ignored.txt").write_text("not read")
    (tmp_path / "empty.yml").write_text("# nothing\n")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfigError) as caught:
        load_files([tmp_path, tmp_path / "missing.yml"])
    told = [problem.render().removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    for start in (
        "a.yaml:1:1: error: expected a connector, got a list",
        "b.yml:6:3: error: parameters.method",
        "b.yml:8:1: error: name: 'UPPER' is no name",
        "binary.yml: error: the file is not UTF-8 text",
        "empty.yml: error: there is no connector in it",
        "missing.yml: error: the file cannot be read: No such file or directory",
    ):
        assert any(line.startswith(start) for line in told), (start, told)


def test_two_connectors_of_one_name(tmp_path: Path) -> None:
    """The problem names both places."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text(f"{PAGE}  endpoint: http://x/\n")
    with pytest.raises(InvalidConfigError, match=r"b\.yml:1:1: error: name: .*'cat-facts' is in .*a\.yml:1 already"):
        load_files([tmp_path])


def test_a_directory_without_configs(tmp_path: Path) -> None:
    """An empty directory is a problem, not silence."""
    with pytest.raises(InvalidConfigError, match=r"no \*\.yml or \*\.yaml"):
        load_files([tmp_path])


def test_keys_at_the_root_that_belong_below() -> None:
    """An option in the wrong place is told where it belongs."""
    said = "\n".join(problems("name: a\ntopic: b\nendpoint: http://x/\n"))
    assert "connect.yml:3:1: error: endpoint: this option belongs under `parameters:`" in said
    assert "belongs to the older form" in "\n".join(problems(f"{TODAY}  endpoint: http://x/\nparameters: {{}}\n"))


def test_secrets_of_todays_form_must_be_declared() -> None:
    """A declared secret is put in; an undeclared one, and one without a value, are problems with places."""
    text = (
        TODAY.replace("meta:\n", "meta:\n  secrets:\n    - name: TOKEN\n")
        + "  endpoint: http://x/?k=${{ secrets.TOKEN }}\n"
    )
    config = one(text, secrets={"TOKEN": "s3cret"})
    assert config.http.endpoint.reveal() == "http://x/?k=s3cret"
    assert str(config.http.endpoint) == "http://x/?k=***"
    assert config.masker.mask("saw s3cret") == "saw ***"
    assert problems(text) == [
        (
            "connect.yml:4:7: error: meta.secrets[0].name: the secret 'TOKEN' is not in a test; "
            "add a line TOKEN=..., or name another file with --secrets"
        )
    ]
    undeclared = f"{TODAY}  endpoint: http://x/?k=${{{{ secrets.TOKEN }}}}\n"
    assert "there is no secret 'TOKEN'" in problems(undeclared, secrets={"TOKEN": "x"})[0]


def test_secrets_of_the_page() -> None:
    """The page's map gives values, or names to be looked up."""
    text = (
        PAGE
        + "  endpoint: http://x/\n  headers: {A: '${{ secrets.A }}', B: '${{ secrets.B }}'}\nsecrets: {A: one, B: }\n"
    )
    headers = dict(one(text, secrets={"B": "two"}).http.headers)
    assert (headers["A"].reveal(), headers["B"].reveal()) == ("one", "two")


def test_secret_objects() -> None:
    """Fluvio's {secret: {name}} form works where a text may hold a secret."""
    text = TODAY.replace("meta:\n", "meta:\n  secrets:\n    - name: TOKEN\n")
    config = one(f"{text}  endpoint: {{secret: {{name: TOKEN}}}}\n", secrets={"TOKEN": "http://x/s3cret"})
    assert config.http.endpoint.reveal() == "http://x/s3cret"
    assert "s3cret" not in repr(config)


@given(
    # Begun with what no message holds: any other text may stand in one by itself.
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=30).map("~~".__add__)
)
def test_secret_values_never_show(secret: str) -> None:
    """Whatever a secret is and wherever it goes, no problem and no repr holds its value."""
    text = TODAY.replace("meta:\n", "meta:\n  secrets:\n    - name: TOKEN\n")
    options = "".join(
        f"  {key}: ${{{{ secrets.TOKEN }}}}\n"
        for key in (
            "endpoint",
            "interval",
            "method",
            "body",
            "output_type",
            "max_body",
            "timezone",
            "cron",
            "conditional",
        )
    )
    try:
        shown = repr(one(text + options, secrets={"TOKEN": secret}))
    except InvalidConfigError as error:
        shown = str(error)
    assert secret not in shown


def test_passwords_in_urls_never_show() -> None:
    """A URL's user and password are masked, in what is loaded and in what is wrong."""
    config = one(f"{PAGE}  endpoint: https://user:pa55word@x/\n")
    assert "pa55word" not in repr(config)
    assert config.http.endpoint.reveal() == "https://user:pa55word@x/"
    assert "pa55word" not in problems(f"{PAGE}  endpoint: https://user:pa55word@\n")[0]


def test_overrides_win() -> None:
    """`--set` replaces options of the file, also in groups; unknown ones are problems."""
    config = one(
        f"{PAGE}  endpoint: http://x/\n  cron: '* * * * *'\n",
        overrides={"interval": "1s", "retry.attempts": "2", "topic": "other", "name": "mine"},
    )
    assert (config.interval, config.http.retry.attempts) == (timedelta(seconds=1), 2)
    assert (config.topic.name, config.name, config.http.cron) == ("other", "mine", None)
    with pytest.raises(InvalidConfigError, match="--set intervall: unknown option; did you mean 'interval'"):
        one(f"{PAGE}  endpoint: http://x/\n", overrides={"intervall": "1s"})


def test_flags() -> None:
    """Options given as flags make the same model, and problems name the flag."""
    config = from_options(
        name="a",
        topic="b",
        options={"endpoint": "http://x/", "headers": ["A: b"], "interval": "3s"},
        create_topic="false",
    )
    assert (config.name, config.topic.name, config.topic.create) == ("a", "b", False)
    assert config.http.headers == (("A", Text("b")),)
    with pytest.raises(InvalidConfigError, match="command line: error: --output-type: expected one of text, json"):
        from_options(name="a", topic="b", options={"endpoint": "http://x/", "output_type": "x"}, flags=True)


def test_transform_values_must_be_texts() -> None:
    """A number under `with` must be quoted, as in Fluvio; too long a value is refused with the reason."""
    base = f"{PAGE}  endpoint: http://x/\ntransforms:\n  - uses: x\n    with: "
    assert "put it into quotes" in problems(f"{base}{{n: 5}}\n")[0]
    assert "longer than 32767 bytes" in problems(f"{base}{{n: {'x' * 33000}}}\n")[0]


@given(st.text())
def test_every_text_loads_or_is_told(text: str) -> None:
    """No text makes loading fail in another way."""
    for whole in (text, PAGE + "  " + text, f"{PAGE}  endpoint: {text}"):
        with suppress(InvalidConfigError):
            assert load_text(whole, secrets=NO_SECRETS).connectors


def test_thousands_of_connectors_in_one_file() -> None:
    """A file may hold as many documents as one likes, with more values than one of them may have."""
    headers = ", ".join(f"A{number}: b" for number in range(25))
    rest = f"\ntype: http\ntopic: t\nparameters: {{endpoint: 'http://x/', headers: {{{headers}}}}}\n"
    text = "---\n".join(f"name: c-{number}{rest}" for number in range(2000))
    assert len(load_text(text).connectors) == 2000
