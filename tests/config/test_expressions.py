"""What is wrong with cursors, windows, pages and expressions is told when the file is read, with its place."""

from __future__ import annotations

import pytest

from headwater.config import InvalidConfigError, load_text
from headwater.config.secrets import SecretSource
from headwater.core.pointer import parse_pointer
from headwater.core.spot import Slot, Spot, parse_slot, parse_spot

HEAD = "apiVersion: 0.1.0\nmeta: {name: a, topic: b}\nhttp:\n  endpoint: https://x.test/\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # Names.
        (
            "  params: {a: '${{ cursor.updatd }}'}\n  cursor: {updated: {from: /u, initial: 0}}\n",
            "connect.yml:5:12: error: http.params.a: ${{ cursor.updatd }}: there is no cursor 'updatd'; did you mean",
        ),
        ("  params: {a: '${{ cursor.x }}'}\n", "there is no cursor 'x'; declare it under cursor"),
        (
            "  params: {a: '${{ cursor.x }}'}\n  cursor: {x: /u}\n",
            "${{ cursor.x }} has no value in the first request; give the cursor an `initial`, or write | default(null)",
        ),
        ("  headers: {a: '${{ window.start }}'}\n", "there is no window; declare it: window: {size: 1h}"),
        ("  body: {a: [{b: '${{ page.token }}'}]}\n", "error: http.body.a[0].b: ${{ page.token }}: there is no pagina"),
        ("  form: {a: '${{ item./id }}'}\n", "an item is known only in the requests of `children`"),
        ("  params: {a: '${{ curser.x }}'}\n", "${{ curser.x }} is not an expression that is known here; did you mean"),
        ("  params: {a: '${{ now }}'}\n", "use ${{ scheduled }}, which is the same for all requests of a round"),
        ("  params: {a: '${{ scheduled | isoo }}'}\n", "there is no filter 'isoo'; did you mean 'iso'?"),
        ("  params: {a: '${{ window.begin }}'}\n", "there is no 'begin' in window; it has start and end"),
        # Places in which every request is the same.
        (
            "  user_agent: 'x ${{ scheduled }}'\n",
            "${{ scheduled }} cannot stand here, for this is the same for every req",
        ),
        ("  interval: '${{ scheduled }}'\n", "${{ scheduled }} cannot stand here"),
        ("  timeout: 1s\n  method: '${{ scheduled }}'\n", "${{ scheduled }} cannot stand here"),
        # Cursors.
        ("  cursor: [a]\n", "error: http.cursor: expected a map of names to cursors"),
        ("  cursor: {a-b: /x}\n", "'a-b' is no name of a cursor; use letters, digits and _"),
        ("  cursor: {a: {}}\n", "error: http.cursor.a.from: it is required"),
        ("  cursor: {a: {from: /x, tak: max}}\n", "http.cursor.a.tak: unknown key; did you mean 'take'?"),
        ("  cursor: {a: {from: /x, take: most}}\n", "expected one of max, min, last, first"),
        ("  cursor: {a: {from: '/x/-'}}\n", "the place behind the last element"),
        ("  cursor: {a: {from: 'header:a b'}}\n", "'a b' is no name of a header"),
        ("  cursor: {a: {from: 'header:x', source: body}}\n", "header:x is a header, so source is header, not body"),
        ("  cursor: {a: {from: /x, source: header}}\n", "source is header, so write from: header:x"),
        ("  cursor: {a: {from: /x, type: text, look_back: 5m}}\n", "look_back cannot be taken off a text"),
        ("  cursor: {a: {from: /x, type: number, look_back: 5m}}\n", "look_back of a number is a number, not 5m"),
        ("  cursor: {a: {from: /x, type: time, initial: soon}}\n", "the initial 'soon' is no time"),
        ("  cursor: {a: {from: /x, type: number, initial: x1}}\n", "the initial 'x1' is no number"),
        ("  cursor: {a: {from: /x, initial: ''}}\n", "it is empty; leave it out"),
        ("  cursor: {a: {from: /x, initial: true}}\n", "expected a text, a number or a time"),
        ("  cursor: {a: {from: /x, source: body, until: 5}}\n", "until leaves items out, and this is no cursor of ite"),
        # Windows.
        ("  window: {size: 1h, until: 5d}\n", "'5d' is no time; write 2025-01-01T00:00:00Z"),
        ("  window: {initial: '2025-01-01', until: '2024-01-01'}\n", "until must be after the initial time"),
        ("  window: {}\n", "it needs a size, or an initial time for the first window to begin at"),
        ("  window: {initial: yesterday}\n", "'yesterday' is neither a time nor a duration"),
        ("  window: {initial: '1969-01-01'}\n", "is before 1970"),
        ("  window: {initial: 1d, whole: true}\n", "whole windows need a size"),
        ("  window: {size: 1ms}\n", "size must be 1s at least"),
        # Pages.
        ("  pagination: links\n", "expected one of auto, none, link, next-url, cursor, page, offset; got 'links'"),
        ("  pagination: next-url\n", "type: next-url needs `next`, where the URL is"),
        ("  pagination: cursor\n", "type: cursor needs `next`, where the next token is, or `last`"),
        (
            "  pagination: {type: cursor, next: /n}\n",
            "nothing says where the token of the next page goes; name a param",
        ),
        ("  pagination: {type: cursor, next: /n, last: /id}\n", "name either next, a token of the answer, or last"),
        ("  pagination: {type: page, next: /n}\n", "next says nothing to type: page; it is for next-url and cursor"),
        (
            "  pagination: {type: link, total: /n}\n",
            "total says nothing to type: link; it is for cursor, page and offset",
        ),
        (
            "  pagination: {type: link, size_param: limit}\n",
            "size_param says where the size goes, but there is no size",
        ),
        ("  pagination: {type: page, param: /page}\n", "for one in the body write body:/page"),
        ("  pagination: {type: page, param: 'body:'}\n", "the body as a whole cannot be a parameter"),
        (
            "  body: 'a text'\n  pagination: {type: page, param: 'body:/page'}\n",
            "http.pagination.param: a body that is no JSON takes no parameters; write it as a map",
        ),
        ("  body: [1]\n  pagination: {type: page, param: 'body:/page'}\n", "a body that is no map takes no parameters"),
        (
            "  form: {a: b}\n  pagination: {type: page, param: 'body:/page/x'}\n",
            "leads into a field of a form, which has no inside",
        ),
        ("  pagination: {type: link, stop_at: x}\n", "http.pagination.stop_at: there is no cursor 'x'"),
        (
            "  cursor: {x: {from: /x, source: body}}\n  pagination: {type: link, stop_at: x}\n",
            "the cursor x is not the largest or the smallest of items",
        ),
        ("  body: a\n  form: {b: c}\n", "name either body or form"),
        # Collections.
        (
            "  changes: {key: id}\n  deduplicate: {by: /id}\n",
            "http.deduplicate: changes appends no item again as it is",
        ),
        (
            "  window: {size: 1h}\n  changes: {key: /id, removed: event}\n",
            "http.changes.removed: with window an answer has only a part of the collection: what is not in it is not",
        ),
        ("  cursor: {x: /x}\n  changes: {key: /id, removed: both}\n", "with cursor an answer has only a part"),
        ("  pagination: {type: link, beyond: ignore}\n  changes: {removed: event}\n", "with pagination.beyond: ignore"),
        ("  changes: {key: /}\n", "http.changes.key: '/' means the whole item; name a member of it, such as /id"),
        ("  changes: {key: 5}\n", "http.changes.key: expected a pointer such as /id, or a list of them"),
        ("  changes: {empty: maybe}\n", "http.changes.empty: expected accept, fail, or how many items may vanish"),
        (
            "  changes: {form: item, removed: both}\n",
            "removed: both needs events; with form: item write removed: tombstone",
        ),
        ("  changes: {removed_after: 0}\n", "http.changes.removed_after: it must be at least 1; got 0"),
        ("  changes: {emit: all}\n", "http.changes.emit: expected one of changes, snapshot, both; got 'all'"),
        ("  deduplicate: {by: id}\n", "http.deduplicate.by: expected key, value or a pointer such as /id; write /id"),
        ("  deduplicate: {age: 1ms}\n", "http.deduplicate.age: it must be 1s at least"),
        ("  deduplicate: {count: 0}\n", "http.deduplicate.count: it must be at least 1; got 0"),
    ],
)
def test_mistakes(lines: str, said: str) -> None:
    """The problem has its place, the key, what was expected, and what to write instead."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(HEAD + lines)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  cursor: {x: /x}\n", "warning: http.cursor.x: no expression of the request asks for the cursor x"),
        (
            "  pagination: page\n",
            "warning: http.pagination: pages end where there are no more items, and nothing says what",
        ),
        (
            "  method: POST\n  window: {size: 1h}\n",
            "warning: http.window: no expression of the request asks for the window: every request is the same",
        ),
    ],
)
def test_what_is_asked_for_nowhere_is_worth_a_word(lines: str, said: str) -> None:
    """It may stay."""
    loaded = load_text(HEAD + lines)
    assert len(loaded.connectors) == 1
    assert said in loaded.warnings[0].render()


def test_the_host_cannot_be_an_expression() -> None:
    """What comes from answers must not choose who gets the credentials."""
    with pytest.raises(InvalidConfigError, match="in the path or the query, not in the host"):
        load_text(HEAD.replace("https://x.test/", "https://${{ cursor.x }}.test/"))


def test_secrets_and_expressions_may_stand_together() -> None:
    """Also in a list of `Name: value`, and in flags' texts."""
    headers = "  headers: ['X-A: ${{ secrets.KEY }} ${{ scheduled | date(\"%H:%M\") }}']\n"
    text = HEAD.replace("topic: b", "topic: b, secrets: [{name: KEY}]") + headers
    (config,) = load_text(text, secrets=SecretSource({"KEY": "s3cr3t"}, "a test")).connectors
    ((name, value),) = config.http.headers
    assert (name, str(value)) == ("X-A", '*** ${{ scheduled | date("%H:%M") }}')
    assert value.plain() == "s3cr3t x"


@pytest.mark.parametrize(
    ("text", "spot", "shown"),
    [
        ("/a/b", Spot(parse_pointer("/a/b")), "/a/b"),
        ("a.b", Spot(parse_pointer("/a/b")), "/a/b"),
        ("body:/a", Spot(parse_pointer("/a")), "/a"),
        ("header:X-Next", Spot(header="x-next"), "header:x-next"),
        ("/", Spot(), "/"),
    ],
)
def test_places_in_answers(text: str, spot: Spot, shown: str) -> None:
    """A pointer, or a header."""
    assert parse_spot(text) == spot
    assert str(spot) == shown


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("page[number]", Slot(param="page[number]")),
        ("body:/a/b", Slot(pointer=parse_pointer("/a/b"))),
        ("header:X-Page", Slot(header="X-Page")),
    ],
)
def test_places_in_requests(text: str, slot: Slot) -> None:
    """A parameter, a header, or a place in the body."""
    assert parse_slot(text) == slot
    assert str(slot) == text


def test_overrides_may_have_expressions() -> None:
    """What `--set` says is read like the file."""
    text = HEAD.replace("topic: b", "topic: b, secrets: [{name: KEY}]")
    secrets = SecretSource({"KEY": "s3cr3t"}, "a test")
    (config,) = load_text(text, secrets=secrets, overrides={"user_agent": "x ${{ secrets.KEY }}"}).connectors
    assert (str(config.http.user_agent), config.masker.mask("s3cr3t")) == ("x ***", "***")
    with pytest.raises(InvalidConfigError, match=r"--set endpoint: .* there is no cursor 'x'"):
        load_text(text, secrets=secrets, overrides={"endpoint": "https://x.test/${{ cursor.x }}"})
