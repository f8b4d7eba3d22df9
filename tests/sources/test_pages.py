"""Where pages lead, where they may not lead, and when they end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.checkpoint import Progress
from headwater.core.http import Request
from headwater.core.link import links_of, next_link
from headwater.core.moment import Moment
from headwater.sources.following import PaginationError, resolve
from sources.coursing import Reply, Walk, course, query, stepped

URL = "https://api.test/v1/items"
HOME = ("https", "api.test", 443)
MOMENT = Moment(1_700_000_000_000, 1_700_000_000_000)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("https://api.test/v1/items?page=2", "https://api.test/v1/items?page=2"),
        ("?page=2", "https://api.test/v1/items?page=2"),
        ("/v2/items?x=a b".replace(" ", "%20"), "https://api.test/v2/items?x=a%20b"),
        ("more", "https://api.test/v1/more"),
        ("//api.test/x", "https://api.test/x"),
        (" https://api.test/x ", "https://api.test/x"),
        ("HTTPS://API.TEST/x", "https://API.TEST/x"),
        ("https://api.test:443/x", "https://api.test:443/x"),
        # A server behind a proxy that ends TLS.
        ("http://api.test/x?y=1", "https://api.test/x?y=1"),
        ("https://user:word@api.test/x#part", "https://api.test/x"),
        ("https://api.test/ü?q=ü", "https://api.test/%C3%BC?q=%C3%BC"),
        ("https://api.test/x?page[offset]=2", "https://api.test/x?page[offset]=2"),
    ],
)
def test_next_urls_become_absolute(target: str, url: str) -> None:
    """Relative to where the answer came from, encoded, without a user and without a fragment."""
    assert resolve(target, URL, HOME, foreign=False) == url


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("https://evil.test/x", "is at https://evil.test, not at https://api.test"),
        ("//evil.test/x", "is at https://evil.test"),
        ("https://api.test.evil.test/", "is at https://api.test.evil.test"),
        (
            "https://api.test:8443/x",
            "is at https://api.test:8443, not at https://api.test, where the credentials belong; other_origins may",
        ),
        ("http://api.test:8080/x", "is at http://api.test:8080, not at https://api.test,"),
        ("https://api.test@evil.test/", "is at https://evil.test"),
        ("ftp://api.test/x", "is not http or https"),
        ("javascript:alert(1)", "is not http or https"),
        ("file:///etc/passwd", "is not http or https"),
        ("https://api.test/a\r\nHost: evil", "has blanks or control characters"),
        ("https://api.test/" + "x" * 9000, "has 9017 characters"),
        ("https://api.test:99999/", "cannot be used"),
        ("https://[::1/", "cannot be used"),
    ],
)
def test_next_urls_that_lead_astray_are_refused(target: str, said: str) -> None:
    """Another origin gets nothing unless it is allowed, and what is no URL ends the round."""
    with pytest.raises(PaginationError) as raised:
        resolve(target, URL, HOME, foreign=False)
    assert said in str(raised.value)


@given(st.text(max_size=60))
def test_any_next_url_is_of_the_origin_or_refused(target: str) -> None:
    """Hostile texts raise nothing else, and never lead to another host."""
    try:
        url = resolve(target, URL, HOME, foreign=False)
    except PaginationError:
        return
    assert url.startswith("https://api.test/")


def test_where_a_redirect_led_may_be_asked_again() -> None:
    """An answer that came from another origin names URLs of its own."""
    assert resolve("/x", "https://www.api.test/y", HOME, foreign=False) == "https://www.api.test/x"


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ('<https://a/2>; rel="next"', "https://a/2"),
        ("<https://a/2>; rel=next", "https://a/2"),
        ('<https://a/1>; rel="prev", <https://a/3>; rel="next last"', "https://a/3"),
        ('<https://a/x,y;z>; title="a, b; c=\\"d\\""; rel="NEXT"', "https://a/x,y;z"),
        ("<?page=2>;rel=next", "?page=2"),
        ('</other>; anchor="#x"; rel="next", </mine>; rel=next', "/mine"),
        ('<https://a/1>; rel="prev"; rel="next"', None),
        ('<https://a/1>; rel="nextish"', None),
        ("https://a/1; rel=next", None),
        ("<https://a/1", None),
        ("", None),
    ],
)
def test_link_headers(value: str, target: str | None) -> None:
    """RFC 8288: several links, parameters in any order, relations in any case, the first `rel` of a link."""
    assert next_link((("link", value),)) == target


def test_several_link_headers() -> None:
    """They count as one."""
    headers = (("link", "<a>; rel=prev"), ("x", "y"), ("link", "<b>; rel=next"))
    assert next_link(headers) == "b"
    assert [target for target, _ in links_of(headers)] == ["a", "b"]


@given(st.text(st.sampled_from('<>;=",rel next\\/'), max_size=60))
def test_any_link_header_is_read(value: str) -> None:
    """Hostile texts raise nothing."""
    assert links_of((("link", value),)) is not None


def walk(pagination: Any, server: Any, **options: Any) -> Walk:
    return Walk(course({"endpoint": URL, "pagination": pagination, **options}), server)


def test_a_server_that_ignores_the_page_is_told() -> None:
    """The same items again are not stored, and the round fails with the reason."""
    it = walk("page", lambda _: Reply({"items": [{"id": 1}, {"id": 2}]}))
    it.round()
    assert [item["id"] for item in it.stored] == [1, 2]
    assert it.failures == [
        "page 2: the page has the same items as the one before: the number that is sent makes no difference"
    ]
    assert it.progress == Progress()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("lead", [0, 5])
def test_pages_that_go_in_circles_are_told(length: int, lead: int) -> None:
    """A circle of any length ends the round with a failure, soon after it has been gone round."""

    def serve(request: Request) -> Reply:
        number = int(query(request).get("t", 0))
        following = number + 1 if number + 1 < lead + length else lead
        return Reply({"items": [{"id": number}], "next": f"?t={following}"})

    it = walk({"type": "next-url", "next": "/next", "max_pages": 500}, serve)
    it.round()
    assert len(it.failures) == 1
    assert "circles" in it.failures[0]
    assert len(it.requests) <= 3 * (lead + length) + 4


def test_a_token_that_comes_back_with_nothing_is_the_end() -> None:
    """Some servers always name a token: one that stays the same, without items, has caught up."""
    answers = iter([{"items": [1], "next": "t1"}, {"items": [2], "next": "t2"}, {"items": [], "next": "t2"}])
    it = walk({"type": "cursor", "next": "/next", "param": "c"}, lambda _: Reply(next(answers)))
    it.round()
    assert it.stored == [1, 2]
    assert not it.failures


def test_empty_pages_in_the_middle_are_walked_through() -> None:
    """A page without items that names a new token is not the end."""
    answers = iter([{"items": [1], "next": "t1"}, {"items": [], "next": "t2"}, {"items": [2]}])
    it = walk({"type": "cursor", "next": "/next", "param": "c"}, lambda _: Reply(next(answers)))
    it.round()
    assert it.stored == [1, 2]


def test_tokens_keep_their_kind_and_their_digits() -> None:
    """A number in a body is a number again, with every digit; a list is a list."""
    bodies = []
    tokens = iter([12345678901234567890, [1.50, "x"], {"a": None}, None])

    def serve(request: Request) -> Reply:
        bodies.append(request.body)
        return Reply({"items": [len(bodies)], "next": next(tokens)})

    it = walk({"type": "cursor", "next": "/next", "param": "body:/p/after"}, serve, method="POST", body={"q": 1})
    it.round()
    assert bodies == [
        b'{"q":1}',
        b'{"q":1,"p":{"after":12345678901234567890}}',
        b'{"q":1,"p":{"after":[1.5,"x"]}}',
        b'{"q":1,"p":{"after":{"a":null}}}',
    ]


def test_max_pages_goes_on_at_the_next_time() -> None:
    """One scheduled time asks for so many pages; the round is the same one at the next."""
    numbers = []

    def serve(request: Request) -> Reply:
        numbers.append(int(query(request)["page"]))
        return Reply({"items": [numbers[-1]], "pages": 5})

    it = walk({"type": "page", "pages": "/pages", "max_pages": 2}, serve)
    it.round(1000)
    assert numbers == [1, 2]
    assert it.notes[-1] == "page 2; the next round goes on with it"
    assert it.progress is not None
    assert it.progress.round == 1000
    it.round(2000)
    it.round(3000)
    assert numbers == [1, 2, 3, 4, 5]
    assert it.notes[-1] == "page 5, the last"
    assert it.progress == Progress()


def test_pages_beyond_may_be_left_alone() -> None:
    """`beyond: ignore` ends the round after max_pages, and its cursors count."""
    it = walk(
        {"type": "page", "max_pages": 2, "beyond": "ignore"},
        lambda request: Reply({"items": [{"id": int(query(request)["page"])}]}),
        cursor={"id": "/id"},
        params={"since": "${{ cursor.id | default(null) }}"},
    )
    it.round()
    assert len(it.requests) == 2
    assert it.notes[-1] == "page 2, the last; page 2 is the last that is asked for"
    assert it.progress == Progress({"id": 2})


def test_a_list_with_the_newest_first_ends_at_the_cursor() -> None:
    """`stop_at` reads no further than the page on which something was there before."""
    known = list(range(10))

    def serve(request: Request) -> Reply:
        start = int(query(request)["offset"])
        newest = list(reversed(known))
        return Reply({"items": [{"id": it} for it in newest[start : start + 3]]})

    it = walk({"type": "offset", "stop_at": "id"}, serve, cursor={"id": "/id"})
    it.round()
    assert len(it.stored) == 10
    asked = len(it.requests)
    known += [10, 11]
    it.round()
    assert len(it.requests) - asked == 1
    assert it.notes[-1] == "it goes back to what was there before"
    assert it.progress == Progress({"id": 11})
    known += range(12, 17)
    it.round()
    assert len(it.requests) - asked == 3


@pytest.mark.parametrize(
    ("pagination", "body", "said"),
    [
        ({"type": "next-url", "next": "/next"}, {"items": [], "next": 5}, "page 1: at /next is no URL but 5"),
        ({"type": "next-url", "next": "/next"}, {"items": [], "next": "https://evil.test/"}, "is at https://evil.test"),
        ({"type": "cursor", "last": "/id", "param": "a"}, {"items": [{"x": 1}]}, "the last item has nothing at /id"),
        ({"type": "cursor", "next": "/n", "param": "a"}, {"items": [1], "n": "x" * 9000}, "9002 bytes is too long"),
        ({"type": "next-url", "next": "/next"}, {"items": [], "next": "?"}, "the next page is this one again"),
    ],
)
def test_pages_that_lead_nowhere_end_the_round(pagination: Any, body: Any, said: str) -> None:
    """The failure says which page and why; the next round begins anew."""
    it = walk(pagination, lambda _: Reply(body))
    it.round()
    assert said in it.failures[0]
    assert it.stored == []
    assert it.progress == Progress()


def test_an_answer_that_is_no_json_cannot_name_a_page() -> None:
    """It is a failure, not the end of the list."""
    made = course({"endpoint": URL, "pagination": {"type": "next-url", "next": "/next"}})
    step = made.step(None, MOMENT, made.gleaning(None), None, headers=(), url=URL)
    assert step.failure == "page 1: the answer is not JSON, and so does not say where the next page is"


def test_a_pointer_that_leads_nowhere_is_told() -> None:
    """A missing has_more ends the list, but not in silence."""
    it = walk(
        {"type": "cursor", "next": "/next", "param": "c", "has_more": "/hasMore"},
        lambda _: Reply({"items": [1], "next": "t", "has_more": True}),
    )
    it.round()
    assert it.notes == ["nothing is at /hasMore, so this is taken for the last page"]


def test_auto_remembers_its_decision_for_the_round() -> None:
    """What the first page shows holds for all; the ledger is told, and the checkpoint knows it."""
    answers = iter(
        [
            {"items": [1], "next_page_token": "a"},
            {"items": [2], "next_page_token": "b", "next": "/elsewhere"},
            {"items": [3]},
        ]
    )
    it = walk("auto", lambda _: Reply(next(answers)))
    it.round()
    assert it.stored == [1, 2, 3]
    assert it.notes == [
        "page 1; pagination: cursor, for there is a token at /next_page_token; more follow",
        "page 2; more follow",
        "page 3, the last",
    ]
    assert [query(request).get("page_token") for request in it.requests] == [None, "a", "b"]


def test_auto_takes_what_it_is_told() -> None:
    """Options that are given win over what is recognised."""
    answers = iter([{"items": [1], "next_cursor": "a"}, {"items": [2]}])
    it = walk({"type": "auto", "param": "from"}, lambda _: Reply(next(answers)))
    it.round()
    assert query(it.requests[1]) == {"from": "a"}


@pytest.mark.parametrize(
    ("body", "headers", "asked", "expected"),
    [
        ({"items": [1], "page": 1, "total_pages": 3}, (), {}, {"page": "2"}),
        ({"items": [1], "meta": {"current_page": 1, "last_page": 2}}, (), {}, {"page": "2"}),
        ({"content": [1], "number": 0, "totalPages": 2}, (), {}, {"page": "1"}),
        ({"items": [1], "page": {"number": 0, "totalPages": 2, "size": 1}}, (), {}, {"page": "1"}),
        ({"items": [1], "offset": 0, "total": 3}, (), {"limit": "1"}, {"offset": "1", "limit": "1"}),
        ({"items": [1], "skip": 0, "limit": 1, "total": 3}, (), {}, {"skip": "1"}),
        ({"items": [1]}, (("x-next-page", "2"),), {}, {"page": "2"}),
        ({"items": [1]}, (("x-total-pages", "2"),), {"p": "1"}, {"p": "2"}),
        ({"items": [1], "nextPageToken": "x"}, (), {}, {"pageToken": "x"}),
        ({"items": [1], "next": "abc"}, (), {}, {"next": "abc"}),
        ({"items": [1], "links": [{"rel": "next", "href": "?p=2"}]}, (), {}, {"p": "2"}),
        ({"items": [1], "links": [{"rel": [], "href": "?p=2"}]}, (), {}, None),
        ({"items": [1], "page": 1, "total_pages": 1}, (), {}, None),
        ({"items": [1], "offset": 0, "total": 1}, (), {}, None),
        ({"items": [1], "next": None, "has_more": False}, (), {}, None),
        ({"items": [1]}, (), {}, None),
    ],
)
def test_what_auto_recognises(body: Any, headers: Any, asked: Any, expected: dict[str, str] | None) -> None:
    """Common shapes lead to the next page; what says nothing is one page."""
    made = course({"endpoint": URL, "params": asked, "pagination": "auto"})
    split = "/content" if "content" in body else "/items"
    step, _ = stepped(made, None, MOMENT, Reply(body, headers), split, URL)
    assert step.more == (expected is not None)
    if expected is not None:
        assert query(made.request(step.progress, MOMENT)) == expected


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_page_that_the_server_has_forgotten_begins_the_round_again(status: int) -> None:
    """Only where the round was broken off: then its first page follows at once."""
    it = walk(
        {"type": "cursor", "next": "/next", "param": "c", "max_pages": 1},
        lambda _: Reply({"items": [{"id": 7}], "next": "t"}),
        cursor={"id": "/id"},
        params={"since": "${{ cursor.id | default(null) }}"},
    )
    it.round(1000)
    step = it.course.forgotten(it.progress, Moment(1000, 2000, first=True), status)
    assert step is not None
    assert step.more
    assert step.progress == Progress(round=1000)
    assert "page 2 begins" in step.note
    assert it.course.forgotten(it.progress, Moment(1000, 2000, first=False), status) is None
    assert it.course.forgotten(it.progress, Moment(1000, 2000, first=True), 500) is None
    assert it.course.forgotten(Progress(), Moment(1000, 2000, first=True), status) is None


def test_numbered_pages_are_never_forgotten() -> None:
    """A 404 of page 7 says something about page 7, not about a token."""
    it = walk({"type": "page", "max_pages": 1}, lambda request: Reply({"items": [query(request)["page"]]}))
    it.round(1000)
    assert it.course.forgotten(it.progress, Moment(1000, 2000, first=True), 404) is None


def test_elasticsearch_s_count_is_no_bound_when_it_stops_counting() -> None:
    """A total that is only `gte` does not end the list."""
    answers = iter(
        [
            {"items": [{"id": 1}], "hits": {"total": {"value": 1, "relation": "gte"}}},
            {"items": [{"id": 2}], "hits": {"total": {"value": 2, "relation": "eq"}}},
        ]
    )
    it = walk(
        {"type": "cursor", "last": "/id", "param": "a", "total": "/hits/total/value"}, lambda _: Reply(next(answers))
    )
    it.round()
    assert [item["id"] for item in it.stored] == [1, 2]


NAMES = st.sampled_from(
    [
        *("next", "next_cursor", "has_more", "items", "page", "total_pages", "offset", "total", "links", "rel", "href"),
        *("pageInfo", "endCursor", "hasNextPage", "data", "meta", "paging", "cursors", "after", "object", "id"),
        *("-", "~", "/"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(allow_nan=False) | st.text(max_size=8)
DOCUMENTS = st.recursive(
    SCALARS | st.sampled_from(["list", "?p=2", "/x", "https://evil.test/", "http://api.test/y", "next", "\r\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(
    DOCUMENTS,
    st.sampled_from(
        [
            "auto",
            {"type": "auto", "param": "body:/a/b"},
            {"type": "next-url", "next": "/next"},
            {"type": "cursor", "next": "/next", "param": "x", "has_more": "/has_more"},
            {"type": "cursor", "last": "/id", "param": "x", "total": "/total"},
            {"type": "page", "pages": "/total_pages"},
            {"type": "offset", "total": "/total", "end": "/has_more"},
        ]
    ),
    st.integers(0, 3),
)
def test_any_answer_leads_on_ends_or_fails(document: Any, pagination: Any, count: int) -> None:
    """Hostile answers raise nothing, are never followed to another host, and what is remembered of them is bounded."""
    body = {"query": "q", "a": {}}
    made = course({"endpoint": URL, "method": "POST", "body": body, "pagination": pagination})
    raw = msgspec.json.encode(document)
    gleaned = made.gleaning(None)
    gleaned.take([msgspec.Raw(msgspec.json.encode({"id": document}))] * count, [()] * count)
    step = made.step(None, MOMENT, gleaned, raw, headers=(), url=URL)
    if step.more:
        assert made.request(step.progress, MOMENT).url.startswith("https://api.test/")
        assert len(msgspec.json.encode(step.progress)) < 20_000
