"""The file that is written: it loads whatever was found, its words are comments, and it shows no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.config import load_text
from headwater.config.document import read_documents
from headwater.config.secrets import SecretSource
from headwater.core.http import Response
from headwater.discover import credentials
from headwater.discover.asking import Ask, from_url
from headwater.discover.curlline import CurlError, read_words
from headwater.discover.finding import Certainty, Draft, Finding, remark
from headwater.discover.survey import Known, survey
from headwater.discover.write import name_of, write
from sources.shapes.corpus import SHAPES, Shape

NOW = 1_714_554_000.0


def loaded(text: str, draft: Draft) -> Any:
    """Load what was written, with the secrets that it names."""
    values = {secret.name: secret.value or "placeholder" for secret in draft.ask.secrets}
    return load_text(text, secrets=SecretSource(values, "a test", closed=True)).connectors[0]


def surveyed(ask: Ask, *answers: Response) -> Draft:
    running = survey(ask, Known(), NOW)
    next(running)
    waiting = list(answers)
    while True:
        try:
            running.send(waiting.pop(0) if waiting else None)
        except StopIteration as ended:
            draft: Draft = ended.value
            return draft


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_corpus_is_written_whole(shape: Shape) -> None:
    """Of each API what was found is an option, not a comment, and means what was found."""
    params = tuple((name, str(value)) for name, value in shape.http.get("params", {}).items())
    headers = tuple(shape.http.get("headers", {}).items())
    ask = from_url(shape.url).replace(
        method=shape.http.get("method", "GET"), params=params, headers=headers, body=shape.http.get("body")
    )
    draft = surveyed(ask, *shape.responses)
    made = write(draft)
    config = loaded(made.text, draft)
    assert "it does not load" not in made.text
    options = config.http.model_dump(exclude_unset=True, by_alias=False)
    for option, finding in draft.chosen().items():
        if finding.certainty > Certainty.GUESS:
            assert option.partition(".")[0] in options, option


def test_a_file_as_it_looks() -> None:
    """Secrets are names, guesses are comments, reasons stand beside or above."""
    ask = Ask("https://x.test/v1/orders", params=(("a", "1"), ("a", "yes")), source="the curl line")
    ask = credentials.bearer(ask, "s3cret-token", "the header Authorization of the curl line")
    draft = Draft(
        ask.noting("something else"),
        (
            Finding("interval", "5m", "as fresh as you need it"),
            Finding("timeout", "7s", "a long reason " * 12),
            Finding("max_redirects", 3, "only a guess", Certainty.GUESS),
            remark("a remark\nwith # a line break"),
        ),
        requests=1,
    )
    assert (
        write(draft).text
        == """\
# Written by `headwater init` from the curl line, with 1 request to x.test.
# The reason stands beside each line. What begins with #? is a guess: look at it, then take the sign away.
# Secrets are looked up in the environment, or in the file that --secrets names, a line for each:
#   API_TOKEN=...   the header Authorization of the curl line
apiVersion: 0.1.0
meta:
  name: orders
  type: http-source
  topic: orders  # where the records go; it is made if it is not there
  secrets:
    - name: API_TOKEN
http:
  endpoint: https://x.test/v1/orders
  params:
    a:
      - "1"
      - "yes"
  auth:
    type: bearer  # the header Authorization of the curl line carries a bearer token
    token: "${{ secrets.API_TOKEN }}"
  interval: 5m  # as fresh as you need it
  # a long reason a long reason a long reason a long reason a long reason a long reason a long reason a long
  # reason a long reason a long reason a long reason a long reason
  timeout: 7s
  #? max_redirects: 3  # only a guess

# Also seen:
# - something else
# - a remark with # a line break
"""
    )


def test_what_does_not_load_becomes_a_comment() -> None:
    """An option that the language refuses, alone or beside another one, is told and does not count."""
    draft = Draft(
        Ask("https://x.test/a"),
        (Finding("interval", "often", "hm"), Finding("frobnicate.much", 1, "hm"), Finding("timeout", "3s", "fine")),
    )
    made = write(draft)
    assert "#? interval: often" in made.text
    assert "#? frobnicate:" in made.text
    assert "is no duration" in made.text or "it does not load" in made.text
    assert loaded(made.text, draft).http.timeout.total_seconds() == 3


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.x.test/v1/orders", "orders"),
        ("https://api.x.test/v1/orders.json", "orders"),
        ("https://api.x.test/repos/acme/rocket/issues", "rocket-issues"),
        ("https://api.x.test/api/search", "api"),
        ("https://catfact.ninja/fact", "fact"),
        ("https://x.test/lastModifiedThings", "last-modified-things"),
        ("https://shop.test/", "shop"),
        ("https://x.test/123/456", "x"),
        ("https://x.test/%E2%98%94", "x"),
    ],
)
def test_names(url: str, name: str) -> None:
    """A connector is called after what it is about."""
    assert name_of(from_url(url)) == name


TEXTS = st.text(st.characters(exclude_categories=["Co"]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            TEXTS | st.sampled_from(["id", "items", "next", "updated_at", "total", "cursor", "page"]), inner
        )
    ),
    max_leaves=30,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["link", "etag", "x-total", "x-ratelimit-limit", "cache-control", "x-next-cursor", "ratelimit"]
        ),
        TEXTS,
    ),
    max_size=4,
)


@settings(max_examples=150)
@given(JSON, HEADERS, st.sampled_from([200, 200, 200, 401, 404, 500]))
def test_whatever_is_answered_what_is_written_loads(value: Any, headers: list[tuple[str, str]], status: int) -> None:
    """No answer, however odd, leads to a file that cannot be used, or that means something else."""
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    given_headers = (("content-type", "application/json"), *headers)
    response = Response(status, "HTTP/1.1", given_headers, body, "https://x.test/a", 0.0, len(body))
    draft = surveyed(from_url("https://x.test/a?b=1"), response, response, response)
    made = write(draft)
    config = loaded(made.text, draft)
    assert config.http.endpoint.reveal() == "https://x.test/a"


OPTIONS = st.sampled_from(["-H", "-d", "--json", "-b", "-u", "-A", "--url-query", "-X", "-x", "-m", "-E"])


@settings(max_examples=100)
@given(st.lists(st.tuples(OPTIONS, TEXTS | st.text("abc:={}\"'$ {", max_size=12))))
def test_whatever_a_line_says_what_is_written_loads(options: list[tuple[str, str]]) -> None:
    """No line of curl leads to a file that cannot be used."""
    try:
        ask = read_words(["curl", "https://x.test/a", *(word for pair in options for word in pair)])
    except CurlError:
        return
    draft = Draft(ask)
    assert loaded(write(draft).text, draft)


@given(JSON)
def test_yaml_holds_what_was_written(value: Any) -> None:
    """A body means the same when it is read again, as a map or as a text."""
    draft = Draft(
        Ask("https://x.test/a", "POST", body=value if isinstance(value, dict | list) and value else {"a": value})
    )
    text = write(draft).text
    roots, problems = read_documents(text, "f")
    assert not problems
    http = roots[0].child("http")
    assert http is not None
    body = http.child("body")
    if body is not None:
        plain = body.plain()
        found = json.loads(plain) if isinstance(plain, str) else plain
        assert found is not None
