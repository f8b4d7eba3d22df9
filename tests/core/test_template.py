"""Texts with expressions: parsed from what the configuration says, rendered with the escaping of their place."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config.document import read_documents
from headwater.config.secrets import insert
from headwater.core.errors import RequestError
from headwater.core.expression import ExpressionError, Number, parse_expression
from headwater.core.instant import Instant
from headwater.core.secret import Text
from headwater.core.template import Template, Where, body_template, json_template

TIME = Instant.of_ms(1_700_000_000_000)
SCOPE: dict[str, Any] = {
    "cursor": {
        "updated": "2024-01-01T00:00:00+02:00",
        "id": 12345678901234567890,
        "price": Number("1.50"),
        "odd": 'a"b',
    },
    "window": {"start": TIME, "end": TIME.moved(3_600_000_000_000)},
    "scheduled": TIME,
    "page": {"number": 2, "offset": 100, "size": 100, "token": None},
    "item": {"id": 7, "a/b": {"c": [1, {"d": "deep"}]}, "tags": ["x"], "none": None, "yes": True},
}


def text(value: str, **secrets: str) -> Text:
    """Return a text as the reader of a configuration makes it."""
    found = leaf({"a": value}, **secrets)["a"]
    assert isinstance(found, Text)
    return found


def leaf(value: Any, **secrets: str) -> Any:
    (root,), _ = read_documents(json.dumps(value), "f")
    problems = insert(root, secrets, "f")
    assert not problems, problems
    plain = root.plain()
    return {key: Text(it) if isinstance(it, str) else it for key, it in plain.items()} if set(plain) == {"a"} else plain


def render(value: str, where: Where = "text", **secrets: str) -> str:
    return Template.parse(text(value, **secrets)).render(SCOPE, where).reveal()


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("none at all", "none at all"),
        ("since=${{ cursor.updated }}!", "since=2024-01-01T00:00:00+02:00!"),
        ("${{cursor.id}}", "12345678901234567890"),
        ("${{ cursor.price }}", "1.50"),
        ("${{ cursor['updated'] | iso }}", "2023-12-31T22:00:00Z"),
        ("${{ window.start }}..${{ window.end }}", "2023-11-14T22:13:20Z..2023-11-14T23:13:20Z"),
        ("${{ window.start | unix }}", "1700000000"),
        ("${{ scheduled | unix_ms }}", "1700000000000"),
        ("${{ scheduled | date('%Y/%m/%d') }}", "2023/11/14"),
        ("${{ scheduled | date('%H:%M', 'Asia/Tokyo') }}", "07:13"),
        ("${{ page.number }}-${{ page.offset }}", "2-100"),
        ("${{ item./id }}", "7"),
        ("${{ item./a~1b/c/1/d }}", "deep"),
        ("${{ item['/a~1b/c/1/d'] }}", "deep"),
        ("${{ item.tags.0 }}", "x"),
        ("${{ item./tags }}", '["x"]'),
        ("${{ item./yes }}", "true"),
        ("${{ item./missing | default('it''s') }}".replace("''", "\\'"), "it's"),
        ("${{ page.token | default('first') }}", "first"),
        ("${{ cursor.none | default(5) | json }}", "5"),
        ("${{ cursor.none | default(1.50) }}", "1.50"),
        ("${{ window.end | minus('1s') }}", "2023-11-14T23:13:19Z"),
        ("${{ cursor.updated | plus('1d') }}", "2024-01-02T00:00:00+02:00"),
        ("${{ scheduled | unix | minus('1m') }}", "1699999940"),
        ("${{ page.number | minus(1) }}", "1"),
        ("${{ page.number | plus(0.5) }}", "2.5"),
        ("${{ cursor.price | minus(1) }}", "0.50"),
        ("${{ cursor.id | plus(1) }}", "12345678901234567891"),
        ("${{ cursor.odd | json }}", '"a\\"b"'),
        ("${{ cursor.odd | url }}", "a%22b"),
        ("${{ cursor.odd | base64 }}", "YSJi"),
    ],
)
def test_values_and_filters(value: str, rendered: str) -> None:
    """Numbers keep their digits, times their spelling, and filters follow each other."""
    assert render(value) == rendered


@pytest.mark.parametrize(
    ("where", "value", "rendered"),
    [
        ("url", "/x/${{ item./v }}/y", "/x/a%2F..%3F%26%20%C3%A9%22/y"),
        ("query", "${{ item./v }}", "a%2F..%3F%26%20%C3%A9%22"),
        ("query", "${{ item./v | url }}", "a%2F..%3F%26%20%C3%A9%22"),
        ("form", "${{ item./v }}", "a%2F..%3F%26+%C3%A9%22"),
        ("xml", "<v>${{ item./v }}</v>", "<v>a/..?&amp; é&quot;</v>"),
        ("json-text", '"${{ item./v }}"', '"a/..?& é\\""'),
        ("json", "${{ item./v }}", '"a/..?& é\\""'),
        ("header", "${{ item./v }}", 'a/..?& é"'),
    ],
)
def test_each_place_has_its_escaping(where: Where, value: str, rendered: str) -> None:
    """A value never becomes more than a value where it is put."""
    scope = {"item": {"v": 'a/..?& é"'}}
    assert Template.parse(text(value)).render(scope, where).reveal() == rendered


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_hostile_values_stay_values(value: str) -> None:
    """Whatever an answer holds, it comes out of each place as it went in, and is never read as an expression."""
    scope = {"item": {"v": value}}
    template = Template.parse(text("${{ item./v }}"))
    assert unquote(template.render(scope, "url").reveal()) == value
    assert "/" not in template.render(scope, "url").reveal()
    assert parse_qs(f"q={template.render(scope, 'query').reveal()}", keep_blank_values=True) == {"q": [value]}
    body = body_template(text('{"x": ${{ item./v }}, "y": "<${{ item./v }}>"}'), "application/json")
    assert json.loads(body.render(scope, "text").reveal()) == {"x": value, "y": f"<{value}>"}
    assert json.loads(json_template({"x": [text("${{ item./v }}")]}).render(scope, "json").reveal()) == {"x": [value]}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7fb"])
def test_a_header_takes_no_control_characters(value: str) -> None:
    """A value from the network cannot begin another header."""
    with pytest.raises(RequestError, match=r"\$\{\{ item\./v \}\} holds a line break"):
        Template.parse(text("${{ item./v }}")).render({"item": {"v": value}}, "header")


def test_a_value_that_is_missing_is_an_error_with_the_expression() -> None:
    """It says what is missing and what to do; nothing is sent with a gap."""
    with pytest.raises(RequestError) as raised:
        render("a=${{ cursor.none | iso }}")
    assert raised.value.message == "${{ cursor.none | iso }} has no value: nothing was gathered for it yet"
    assert "default('...')" in raised.value.hint
    with pytest.raises(RequestError, match="the item has none"):
        render("${{ item./none }}")


def test_a_filter_that_cannot_take_the_value_says_so() -> None:
    """The error shows the value, cut."""
    with pytest.raises(RequestError, match=r"'a\"b' is no time"):
        render("${{ cursor.odd | iso }}")
    with pytest.raises(RequestError, match=r"'a\"b' is no number"):
        render("${{ cursor.odd | plus(1) }}")
    with pytest.raises(RequestError, match="'true' is no time"):
        render("${{ item./yes | unix }}")
    assert Number("1.5") == Number("1.5")
    assert len({Number("1.5"), Number("1.5"), Number("1.50")}) == 2
    assert repr(Number("1.5")) == "Number('1.5')"


def test_secrets_are_put_in_once_and_masked() -> None:
    """What a secret holds is neither shown nor read as an expression."""
    evil = "${{ cursor.id }}"
    template = Template.parse(text("k=${{ secrets.KEY }}&id=${{ cursor.id }}", KEY=evil))
    rendered = template.render(SCOPE, "text")
    assert rendered.reveal() == f"k={evil}&id=12345678901234567890"
    assert str(rendered) == "k=***&id=12345678901234567890"
    assert rendered.parts == (evil,)


def test_a_value_from_an_answer_is_never_an_expression() -> None:
    """What looks like one is sent as it came."""
    scope = {"item": {"v": "${{ secrets.KEY }}"}}
    assert Template.parse(text("${{ item./v }}")).render(scope, "text").reveal() == "${{ secrets.KEY }}"
    assert Template.parse(Text("${{ item./v }}")).render(scope, "text").reveal() == "${{ item./v }}"


def test_a_map_becomes_json_with_the_kinds_of_its_values() -> None:
    """A text that is one expression is the value itself; within a longer text it is a text."""
    body = leaf(
        {
            "query": 'q { a(x: "y") }',
            "n": 1.5,
            "none": None,
            "list": [],
            "map": {},
            "variables": {
                "after": "${{ page.token }}",
                "id": "${{ cursor.id }}",
                "price": "${{ cursor.price }}",
                "first": "${{ page.size }}",
                "since": "${{ window.start }}",
                "unix": "${{ window.start | unix }}",
                "all": "${{ item./a~1b }}",
                "label": 'id "${{ cursor.id }}"',
                "key": "${{ secrets.KEY }}",
            },
        },
        KEY='s"',
    )
    rendered = json_template(body).render(SCOPE, "json")
    decoded = json.loads(rendered.reveal())
    assert decoded["variables"] == {
        "after": None,
        "id": 12345678901234567890,
        "price": 1.5,
        "first": 100,
        "since": "2023-11-14T22:13:20Z",
        "unix": 1700000000,
        "all": {"c": [1, {"d": "deep"}]},
        "label": 'id "12345678901234567890"',
        "key": 's"',
    }
    assert {key: decoded[key] for key in ("query", "n", "none", "list", "map")} == {
        "query": 'q { a(x: "y") }',
        "n": 1.5,
        "none": None,
        "list": [],
        "map": {},
    }
    assert '"price":1.50' in rendered.reveal()
    assert '"key":"***"' in str(rendered)


def test_what_may_be_left_out() -> None:
    """The first page has no token; a value with default(null) may be none. Everything else must be there."""
    assert Template.parse(text("${{ page.token }}")).render_optional(SCOPE, "query") is None
    assert Template.parse(text("${{ cursor.none | default(null) }}")).render_optional(SCOPE, "query") is None
    with pytest.raises(RequestError):
        Template.parse(text("x${{ page.token }}")).render_optional(SCOPE, "query")
    with pytest.raises(RequestError):
        Template.parse(text("${{ cursor.none }}")).render_optional(SCOPE, "query")
    with pytest.raises(RequestError):
        json_template({"a": text("${{ cursor.none }}")}).render(SCOPE, "json")


@pytest.mark.parametrize(
    ("kind", "value", "rendered"),
    [
        ("", '{"q": "${{ cursor.odd }}", "n": ${{ cursor.id }}}', '{"q": "a\\"b", "n": 12345678901234567890}'),
        ("", '{"q": "\\"${{ cursor.odd }}"}', '{"q": "\\"a\\"b"}'),
        ("", "<q>${{ item./v }}</q>", "<q>&lt;&amp;</q>"),
        ("text/xml", "${{ item./v }}", "&lt;&amp;"),
        ("application/x-www-form-urlencoded", "a=${{ item./v }}", "a=%3C%26"),
        ("text/plain", "{${{ item./v }}}", "{<&}"),
    ],
)
def test_a_body_escapes_by_its_kind(kind: str, value: str, rendered: str) -> None:
    """The kind is the content type's, or told by the first sign."""
    scope = {**SCOPE, "item": {"v": "<&"}}
    assert body_template(text(value), kind).render(scope, "text").reveal() == rendered


@pytest.mark.parametrize(
    ("source", "said", "suggestion"),
    [
        ("", "'' is no expression", "write ${{ name.part | filter('argument') }}"),
        ("cursr.x", "there is no 'cursr'", "did you mean 'cursor'?"),
        ("cursor", "cursor alone is no value", "write cursor.NAME"),
        ("window", "window alone is no value", "write window.start"),
        ("window.strt", "no 'strt' in window; it has start and end", "did you mean 'start'?"),
        ("scheduled.x", "no 'x' in scheduled; it is a value by itself", ""),
        ("cursor.x y", "is no expression", "write ${{"),
        ("cursor.x | isoo", "there is no filter 'isoo'", "did you mean 'iso'?"),
        ("cursor.x |", "a filter is missing behind |", "there is iso, unix"),
        ("cursor.x | iso unix", "'unix' is not expected behind the filter iso", "part filters with |"),
        ("cursor.x | iso(1)", "the filter iso cannot have 1 arguments", "write iso"),
        ("cursor.x | default", "the filter default cannot have 0 arguments", "write default('x')"),
        ("cursor.x | default(x)", "the argument of default is no text in quotes", "write default('x')"),
        ("cursor.x | date('%Q')", "'%Q' is no form of a date", "write date('%Y-%m-%d')"),
        ("cursor.x | date('%Y', 'Mars/Base')", "'Mars/Base' is no time zone", "write a name"),
        ("cursor.x | date(1)", "the filter date takes texts", "write date("),
        ("cursor.x | minus('soon')", "'soon' is not a duration", "write minus('1s')"),
        ("cursor.x | minus(true)", "only a duration or a number can be added", "write minus('1s') or minus(1)"),
        ("item./a/- ", "the place behind the last element", ""),
        ("cursor.x | default()", "cannot have 0 arguments", "write default('x')"),
        ("cursor.x | default('a', 'b')", "cannot have 2 arguments", "write default('x')"),
    ],
)
def test_expressions_that_cannot_be_meant(source: str, said: str, suggestion: str) -> None:
    """Each error is a sentence, with the nearest name that there is."""
    with pytest.raises(ExpressionError) as raised:
        parse_expression(source)
    assert said in str(raised.value)
    assert raised.value.suggestion.startswith(suggestion)


@given(st.text(st.sampled_from("cursor.x|dea ultif()'\"\\[]/0,-"), max_size=40))
def test_any_expression_is_read_or_refused(source: str) -> None:
    """Hostile texts raise nothing else."""
    with suppress(ExpressionError):
        assert parse_expression(source).space == "cursor"


def test_filters_of_secrets_are_applied_when_they_are_read() -> None:
    """What a filter makes of a secret is masked as well."""
    value = text("Basic ${{ secrets.PAIR | base64 }}", PAIR="user:pass")
    assert (value.reveal(), str(value)) == ("Basic dXNlcjpwYXNz", "Basic ***")
    assert set(value.parts) == {"user:pass", "dXNlcjpwYXNz"}
    assert text("${{ secrets.NONE | default('x') }}").reveal() == "x"


def test_what_became_of_a_value_is_remembered_for_that_value_alone() -> None:
    """Another value, or the same in another place, is put in anew."""
    template = Template.parse(text("${{ item./v }}"))
    cases: tuple[tuple[Any, Where, str], ...] = (
        ("a/b", "url", "a%2Fb"),
        ("a/b", "text", "a/b"),
        ("a/c", "url", "a%2Fc"),
        (1, "url", "1"),
        (True, "url", "true"),
        ({"a": 1}, "text", '{"a":1}'),
        ({"a": 2}, "text", '{"a":2}'),
    )
    for value, where, rendered in cases:
        assert template.render({"item": {"v": value}}, where).reveal() == rendered


def test_a_value_without_bounds_is_refused() -> None:
    """An answer cannot make a request as large as it likes."""
    with pytest.raises(RequestError, match="longer than 1048576"):
        Template.parse(text("${{ item./v }}")).render({"item": {"v": "x" * 2_000_000}}, "text")
