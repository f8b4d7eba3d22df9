"""Requests with expressions, and requests for pages: escaped for their places, with credentials where they belong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.core.checkpoint import Progress
from headwater.core.errors import RequestError
from headwater.core.http import Request
from headwater.core.moment import Moment
from sources.coursing import Reply, course, query, stepped

URL = "https://api.test/v1/items"
MOMENT = Moment(1_700_000_000_000, 1_700_000_000_000)


def request(http: dict[str, Any], progress: Progress | None = None, **secrets: str) -> Request:
    return course({"endpoint": URL, **http}, secrets).request(progress, MOMENT)


def test_without_expressions_the_request_is_always_the_same_one() -> None:
    """The fetch engine keeps what it set up for it."""
    made = course({"endpoint": URL, "params": {"a": "b"}})
    assert made.plain
    assert made.request(None, MOMENT) is made.request(Progress({"x": 1}), MOMENT)
    paged = course({"endpoint": URL, "pagination": "link"})
    assert not paged.plain
    assert paged.request(None, MOMENT) is paged.request(None, MOMENT)


def test_values_are_encoded_in_path_and_parameters() -> None:
    """A value is one step of a path, and one parameter, whatever it holds."""
    made = request(
        {
            "endpoint": "https://api.test/v1/${{ cursor.x }}/items?q=${{ cursor.x }}#part",
            "params": {"since": "${{ cursor.x }}", "fixed": "ü&"},
            "cursor": {"x": {"from": "/x", "initial": "a/b?c&d=ü"}},
        }
    )
    encoded = "a%2Fb%3Fc%26d%3D%C3%BC"
    assert made.url == f"https://api.test/v1/{encoded}/items?q={encoded}&since={encoded}&fixed=%C3%BC%26"
    assert made.shown_url == f"https://api.test/v1/{encoded}/items?q={encoded}&since={encoded}&fixed=ü&"


def test_an_endpoint_without_a_path_gets_one() -> None:
    """As without expressions."""
    made = request({"endpoint": "https://api.test?t=${{ scheduled | unix }}"})
    assert made.url == "https://api.test/?t=1700000000"


@pytest.mark.parametrize("value", [".", "..", "%2e%2E"])
def test_a_value_cannot_lead_upwards(value: str) -> None:
    """Neither as it is nor as a server may decode it."""
    options = {"endpoint": "https://api.test/a/${{ cursor.x }}/b", "cursor": {"x": {"from": "/x", "initial": value}}}
    if "%" in value:
        assert "%252e%252E" in request(options).url
        return
    with pytest.raises(RequestError, match="would lead elsewhere"):
        request(options)


def test_a_value_cannot_vanish_from_the_path() -> None:
    """An empty step would ask for something else."""
    options = {"endpoint": "https://api.test/a/${{ cursor.x }}", "cursor": {"x": {"from": "/x", "initial": "y"}}}
    with pytest.raises(RequestError, match="is empty"):
        request(options, Progress({"x": ""}))
    # What the configuration itself says may be odd.
    assert request({**options, "endpoint": "https://api.test/a//../${{ cursor.x }}"}).url == "https://api.test/a//../y"


def test_headers_and_forms() -> None:
    """Each with its escaping; a parameter, header or field that may be left out is left out."""
    made = request(
        {
            "method": "POST",
            "headers": {"X-Since": "${{ cursor.x }}", "X-None": "${{ cursor.y | default(null) }}"},
            "params": {"y": "${{ cursor.y | default(null) }}"},
            "form": {"since": "${{ cursor.x }}", "a b": ["1", "2"], "none": "${{ cursor.y | default(null) }}"},
            "cursor": {"x": {"from": "/x", "initial": "1 & 2"}, "y": "/y"},
        }
    )
    headers = dict(made.headers)
    assert headers["X-Since"] == "1 & 2"
    assert "X-None" not in headers
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert made.body == b"since=1+%26+2&a+b=1&a+b=2"
    assert made.url == URL


def test_a_map_is_sent_as_json() -> None:
    """With its content type, unless the configuration names one; without expressions it is the same request always."""
    made = course({"endpoint": URL, "method": "POST", "body": {"a": [1, "ü"], "b": None}})
    sent = made.request(None, MOMENT)
    assert sent is made.request(None, MOMENT)
    assert sent.body == '{"a":[1,"ü"],"b":null}'.encode()
    assert ("Content-Type", "application/json") in sent.headers
    other = request({"method": "POST", "body": {}, "headers": {"content-type": "application/ld+json"}})
    assert [value for name, value in other.headers if name.lower() == "content-type"] == ["application/ld+json"]
    assert other.body == b"{}"


def test_texts_of_bodies_are_escaped_by_their_kind() -> None:
    """JSON in a text is told by its first sign; a value within its quotes stays within them."""
    cursor = {"x": {"from": "/x", "initial": 'a"b'}}
    made = request({"method": "POST", "body": '{"q": "${{ cursor.x }}"}', "cursor": cursor})
    assert made.body == b'{"q": "a\\"b"}'
    xml = request({"method": "POST", "body": "<q>${{ cursor.x }}</q>", "cursor": {"x": {"from": "/x", "initial": "<"}}})
    assert xml.body == b"<q>&lt;</q>"


def test_secrets_are_sent_and_never_shown() -> None:
    """In every part of a request with expressions."""
    made = request(
        {
            "endpoint": "https://api.test/${{ secrets.KEY }}/${{ scheduled | unix }}",
            "params": {"key": "${{ secrets.KEY }}"},
            "headers": {"X-Api": "${{ secrets.KEY }} ${{ scheduled | unix }}"},
        },
        KEY="s3cr3t",
    )
    assert made.url == "https://api.test/s3cr3t/1700000000?key=s3cr3t"
    assert made.shown_url == "https://api.test/***/1700000000?key=***"
    assert dict(made.headers)["X-Api"] == "s3cr3t 1700000000"
    assert "x-api" in made.secret_headers
    assert "key" in made.secret_params


def test_parameters_of_pages_take_the_place_of_the_configured_ones() -> None:
    """Also of those that stand in the endpoint; their value there is where the pages start."""
    made = course(
        {
            "endpoint": f"{URL}?page=0&x=1",
            "params": {"per_page": 10, "y": 2},
            "pagination": {"type": "page", "size": 50, "size_param": "per_page"},
        }
    )
    first = made.request(None, MOMENT)
    assert first.url == f"{URL}?x=1&per_page=50&y=2&page=0"
    assert first.shown_url == first.url
    step, _ = stepped(made, None, MOMENT, Reply({"items": [1] * 50}), "/items", first.url)
    assert query(made.request(step.progress, MOMENT))["page"] == "1"


def test_a_body_written_as_json_takes_parameters_too() -> None:
    """Where it has no expressions."""
    made = course(
        {
            "endpoint": URL,
            "method": "POST",
            "body": '{"a": {"b": 1}}',
            "pagination": {"type": "offset", "param": "body:/a/from", "size": 2, "size_param": "body:/a/size"},
        }
    )
    sent = made.request(None, MOMENT)
    assert msgspec.json.decode(sent.body or b"") == {"a": {"b": 1, "from": 0, "size": 2}}


def test_forms_take_parameters_of_pages() -> None:
    """As fields."""
    made = request(
        {
            "method": "POST",
            "form": {"a": "1", "page": "x"},
            "pagination": {"type": "page", "param": "body:/page"},
        }
    )
    assert made.body == b"a=1&page=1"


def test_the_windows_and_the_page_are_seen_by_expressions() -> None:
    """All names that there are."""
    made = request(
        {
            "params": {
                "w": "${{ window.start | unix }}-${{ window.end | unix }}",
                "p": "${{ page.number }}/${{ page.offset }}/${{ page.size }}",
                "t": "${{ page.token }}",
                "s": "${{ scheduled }}",
            },
            "window": {"size": "1h"},
            "pagination": {"type": "page", "size": 10},
        }
    )
    assert query(made) == {
        "w": "1699996400-1700000000",
        "p": "1/0/10",
        "s": "2023-11-14T22:13:20Z",
    }


FOREIGN = {
    "headers": {"X-Key": "${{ secrets.KEY }}", "X-Plain": "1"},
    "params": {"key": "${{ secrets.KEY }}"},
    "pagination": {"type": "next-url", "next": "/next", "other_origins": "without-credentials"},
}


def second(http: dict[str, Any], target: str, **secrets: str) -> Request:
    """Return the request for the page that the first one's answer names."""
    made = course({"endpoint": URL, **http}, secrets)
    step, _ = stepped(made, None, MOMENT, Reply({"items": [1], "next": target}), "/items", URL)
    assert not step.failure, step.failure
    return made.request(step.progress, MOMENT)


def test_another_origin_gets_no_credentials() -> None:
    """Neither headers, nor parameters whose values come back in the URL, nor a login."""
    sent = second(
        {**FOREIGN, "auth": {"type": "basic", "username": "u", "password": "passw0rd"}},
        "https://cdn.test/x?key=s3cr3t&page=2",
        KEY="s3cr3t",
    )
    assert sent.url == "https://cdn.test/x?page=2"
    assert "s3cr3t" not in sent.shown_url
    names = {name.lower() for name, _ in sent.headers}
    assert "x-key" not in names
    assert "authorization" not in names
    assert "x-plain" in names


def test_the_same_origin_gets_them_also_when_the_url_has_lost_them() -> None:
    """Some APIs leave the key out of the next URL, others repeat it: it is there once."""
    for target in ("https://api.test/x?page=2", "https://api.test/x?page=2&key=s3cr3t"):
        sent = second(FOREIGN, target, KEY="s3cr3t")
        assert sent.url == "https://api.test/x?page=2&key=s3cr3t"
        assert sent.shown_url == "https://api.test/x?page=2&key=***"
        assert dict(sent.headers)["X-Key"] == "s3cr3t"


def test_keys_of_auth_are_in_every_request() -> None:
    """An API key that is a parameter is no part of the configured ones, and is sent all the same."""
    http = {
        "params": {"t": "${{ scheduled | unix }}"},
        "auth": {"type": "api-key", "in": "query", "name": "apikey", "value": "s3cr3t"},
        "pagination": {"type": "next-url", "next": "/next"},
    }
    first = request(http)
    assert first.url == f"{URL}?t=1700000000&apikey=s3cr3t"
    assert first.shown_url == f"{URL}?t=1700000000&apikey=***"
    assert second(http, "?page=2").url == f"{URL}?page=2&apikey=s3cr3t"


def test_a_body_with_a_secret_does_not_go_elsewhere() -> None:
    """It is refused instead."""
    with pytest.raises(RequestError, match="holds a secret"):
        second({**FOREIGN, "method": "POST", "body": {"k": "${{ secrets.KEY }}"}}, "https://cdn.test/x", KEY="s3cr3t")


def test_what_looks_like_a_credential_in_a_next_url_is_not_shown() -> None:
    """Signed URLs are sent as they came, and masked."""
    sent = second(FOREIGN, "https://cdn.test/x?X-Amz-Signature=abcdef&page_token=t", KEY="s3cr3t")
    assert sent.url == "https://cdn.test/x?X-Amz-Signature=abcdef&page_token=t"
    assert sent.shown_url == "https://cdn.test/x?X-Amz-Signature=***&page_token=t"


def test_a_value_that_is_unfit_says_so() -> None:
    """With the expression as it was written."""
    made = course({"endpoint": URL, "params": {"since": "x${{ cursor.x | default('') | iso }}"}, "cursor": {"x": "/x"}})
    with pytest.raises(RequestError) as raised:
        made.request(None, MOMENT)
    assert raised.value.message == "${{ cursor.x | default('') | iso }} has no value: '' is no time"
