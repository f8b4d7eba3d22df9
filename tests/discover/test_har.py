"""HAR files: which exchange was meant, what came back, and which credentials are in it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.discover.har import HarError, choose, is_har, read_har

ITEMS = [{"id": number, "updated_at": f"2024-05-0{number}T10:00:00Z"} for number in range(1, 6)]


def entry(url: str, body: Any = None, *, status: int = 200, kind: str = "application/json", **more: Any) -> Any:
    """Return an entry as a browser writes it."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "startedDateTime": "2024-05-01T10:00:00.000Z",
        "request": {
            "method": "GET",
            "url": url,
            "httpVersion": "HTTP/2",
            "headers": [{"name": ":authority", "value": "x.test"}, {"name": "Accept", "value": "application/json"}],
            "queryString": [],
            "cookies": [],
            **more,
        },
        "response": {
            "status": status,
            "headers": [{"name": "Content-Type", "value": kind}, {"name": "ETag", "value": '"a"'}],
            "content": {"size": len(text), "mimeType": kind, "text": text},
        },
    }


def har(*entries: Any) -> Any:
    return {"log": {"version": "1.2", "creator": {"name": "Firefox"}, "entries": list(entries)}}


def test_the_exchange_that_was_meant() -> None:
    """Of all that a page loads, the answer with a list of items counts."""
    found = read_har(
        har(
            entry("https://x.test/", "<!DOCTYPE html>", kind="text/html"),
            entry("https://x.test/app.js", "let a = 1", kind="text/javascript"),
            entry("https://analytics.test/collect?id=1", {"items": ITEMS}),
            entry("https://x.test/api/me", {"id": 1, "name": "me"}),
            entry("https://x.test/api/orders?page=1", {"items": ITEMS}),
            entry("https://x.test/api/broken", {"error": "x"}, status=500),
        )
    )
    first = found[0]
    assert (first.number, first.ask.url, first.ask.params) == (5, "https://x.test/api/orders", (("page", "1"),))
    assert first.response is not None
    assert (first.response.status, first.response.header("etag")) == (200, '"a"')
    assert choose(found, None) is first
    assert choose(found, "4").ask.url == "https://x.test/api/me"
    assert choose(found, "/me").number == 4
    assert "5: GET https://x.test/api/orders -> 200" in first.sentence()
    with pytest.raises(HarError, match="no exchange of the HAR file is 'nothing'"):
        choose(found, "nothing")


def test_credentials_of_a_har() -> None:
    """A token and a cookie are secrets, and pseudo-headers of HTTP/2 are none."""
    headers = [
        {"name": ":path", "value": "/api"},
        {"name": "authorization", "value": "Bearer s3cret-token-1"},
        {"name": "cookie", "value": "sid=s3cret-cookie-1"},
        {"name": "sec-fetch-mode", "value": "cors"},
    ]
    posted = {"mimeType": "application/json", "text": '{"apiKey": "s3cret-key-1", "size": 2}'}
    (found,) = read_har(har(entry("https://x.test/api", [], method="POST", headers=headers, postData=posted)))
    assert {it.value for it in found.ask.secrets} == {"s3cret-token-1", "sid=s3cret-cookie-1", "s3cret-key-1"}
    assert "s3cret" not in str([found.ask.headers, found.ask.body, found.ask.auth, found.ask.params, found.sentence()])


def test_a_body_in_base64() -> None:
    """Browsers save what is no text in base64, and sometimes what is one."""
    saved = entry("https://x.test/api", ITEMS)
    saved["response"]["content"] = {"encoding": "base64", "text": base64.b64encode(json.dumps(ITEMS).encode()).decode()}
    (found,) = read_har(har(saved))
    assert found.response is not None
    assert json.loads(found.response.body) == ITEMS


@pytest.mark.parametrize("document", [{}, [], None, {"log": []}, {"log": {"entries": {}}}, har(), har({"request": 5})])
def test_what_is_no_har(document: Any) -> None:
    """What has no exchange is told."""
    assert not is_har(document) or document["log"]["entries"] is not None
    with pytest.raises(HarError):
        read_har(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["request", "response", "url", "headers", "name", "value", "content", "text",
                                       "status", "method", "postData", "encoding"]), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(st.lists(JSON, max_size=4))
def test_any_entries_are_read(entries: list[Any]) -> None:
    """Whatever stands in the list, the rest is read."""
    good = entry("https://x.test/api", ITEMS)
    assert any(it.ask.url == "https://x.test/api" for it in read_har(har(*entries, good)))
