"""The parts of the fetch engine that need no server: headers, trust, limits, redirects."""

from __future__ import annotations

import resource
from pathlib import Path

import certifi
import msgspec
import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.egress import Policy
from headwater.core.errors import ProtocolError, RedirectError, RequestError
from headwater.core.http import Request, Response, Transport, ascii_url
from headwater.core.limits import raise_file_limit
from headwater.fetch import CurlFetcher
from headwater.fetch.head import parse_headers, read_head
from headwater.fetch.redirect import follow
from headwater.fetch.setting import Surroundings, apply
from headwater.fetch.trust import ca_bundle
from headwater.testing import Answer, ScriptedServer


def test_header_lines() -> None:
    """Names in lower case, values trimmed, UTF-8 or else Latin-1, folded lines joined, repeats kept."""
    lines = [b"X-A: 1\r\n", b"x-a:2\r\n", b"Folded: a\r\n", b"  b\r\n", b"N: \xe9\r\n", b"U: \xc3\xa9\r\n", b"\r\n"]
    headers = (("x-a", "1"), ("x-a", "2"), ("folded", "a b"), ("n", "é"), ("u", "é"))
    assert parse_headers(lines) == headers
    assert parse_headers(lines) == headers  # the second time from memory


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_header_lines(lines: list[bytes]) -> None:
    """No bytes make parsing fail, and it says the same when asked again."""
    assert parse_headers(lines) == parse_headers(lines)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", b"\r\n"], 200),
        ([b"HTTP/1.1 103 Early\r\n", b"\r\n", b"HTTP/2 204 \r\n", b"A: b\r\n", b"\r\n"], 204),
        ([b"HTTP/1.1 401 No\r\n", b"X: y\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", b"\r\n"], 200),
        # A header is no status line, and a trailer no header of its own.
        ([b"HTTP/1.1 200 OK\r\n", b"HTTP/9.9 500 x: y\r\n", b"A: b\r\n", b"\r\n"], 200),
    ],
)
def test_which_head_counts(lines: list[bytes], status: int) -> None:
    """It is the last one, behind interim responses and challenges that were met."""
    found, version, headers = read_head(lines, Request("GET", "http://h/", ""))
    assert (found, version[:5], dict(headers)["a"]) == (status, "HTTP/", "b")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no status line"),
        ([b"HTTP/1.1 100 Continue\r\n", b"\r\n"], "only 1xx"),
        ([b"HTTP/1.1 abc\r\n", b"\r\n"], "makes no sense"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n"] * 1000, b"\r\n"], "1002 headers"),
    ],
)
def test_heads_that_are_none(lines: list[bytes], said: str) -> None:
    """Each is an error of the protocol."""
    with pytest.raises(ProtocolError, match=said):
        read_head(lines, Request("GET", "http://h/", ""))


def test_many_different_headers_do_not_pile_up() -> None:
    """What is remembered of header lines is bounded."""
    for number in range(10_000):
        assert parse_headers([b"x: %d" % number]) == (("x", str(number)),)


def test_which_authorities_are_trusted(tmp_path: Path) -> None:
    """The environment's choice, also when it is missing; then the system's; else certifi's."""
    assert ca_bundle({"SSL_CERT_FILE": "/missing.pem"}, lambda _: False) == "/missing.pem"
    assert ca_bundle({"CURL_CA_BUNDLE": "/b.pem", "SSL_CERT_FILE": ""}, lambda _: True) == "/b.pem"
    assert ca_bundle({}, lambda path: path == "/etc/ssl/cert.pem") == "/etc/ssl/cert.pem"
    assert ca_bundle({}, lambda _: False) == certifi.where()


def test_the_limit_of_open_files() -> None:
    """It is raised as far as allowed, and raising it again changes nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raised = raise_file_limit()
        assert raised == min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
        assert raise_file_limit() == raised
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def redirected(status: int, location: str | None, request: Request) -> Request | None:
    headers = () if location is None else (("location", location),)
    return follow(request, Response(status, "HTTP/1.1", headers, b"", request.url, 0.0, 0), followed=0)


def test_what_a_redirect_becomes() -> None:
    """307 and 308 keep method and body; the others make a GET; a redirect without a place is a response."""
    headers = (("Content-Type", "a/b"), ("Authorization", "x"), ("X-Open", "1"))
    post = Request("POST", "http://u:p@h/a?k=1#f", "http://h/a", headers, b"body")
    assert redirected(200, "/b", post) is None
    assert redirected(302, None, post) is None
    kept = redirected(307, "b c?k=s3cret#fragment", post)
    assert kept is not None
    assert (kept.method, kept.body, kept.headers) == ("POST", b"body", headers)
    assert (kept.url, kept.shown_url) == ("http://u:p@h/b%20c?k=s3cret", "http://h/b%20c?***")
    moved = redirected(303, "//other/x", post)
    assert moved is not None
    assert (moved.method, moved.body, moved.headers, moved.url) == ("GET", None, (("X-Open", "1"),), "http://other/x")
    with pytest.raises(RedirectError):
        redirected(301, "http://h:port/", post)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 2000 + b"\r\n"])
async def test_answers_that_make_no_sense(answer: bytes) -> None:
    """A status that is no number and too many headers are errors of the protocol."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(raw=answer))
        with pytest.raises(ProtocolError):
            await fetcher.fetch(Request("GET", url, url))


async def test_head_and_interim_answers() -> None:
    """HEAD has no body; 1xx before the answer is skipped; a header that cannot be encoded is a RequestError."""
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nhi"
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"abc"), Answer(raw=interim))
        head = await fetcher.fetch(Request("HEAD", url, url))
        assert (head.status, head.body, head.header("content-length")) == (200, b"", "3")
        response = await fetcher.fetch(Request("GET", url, url))
        assert (response.status, response.body) == (200, b"hi")
        assert response.headers == (("content-length", "2"), ("x", "y"))
        with pytest.raises(RequestError):
            await fetcher.fetch(Request("GET", url, url, (("X", "\ud800"),)))


async def test_more_requests_than_handles_are_kept() -> None:
    """Handles are kept for the requests that come again, within a bound, and each request is its own."""
    async with ScriptedServer() as server, CurlFetcher(most_in_flight=8) as fetcher:
        server.route("/x", lambda request: Answer(body=request.target.encode()))
        requests = [Request("GET", f"{server.url}/x?{number}", "shown") for number in range(1100)]
        for _ in range(2):
            for request in requests[:20]:
                assert (await fetcher.fetch(request)).body == request.url.removeprefix(server.url).encode()
        for request in requests:
            await fetcher.fetch(request)
        assert server.connections <= 8


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("http://bücher.example/a b?q=é&r=%20#x", "http://xn--bcher-kva.example/a%20b?q=%C3%A9&r=%20#x"),
        ("http://ü:p@bücher.example:81/", "http://%C3%BC:p@xn--bcher-kva.example:81/"),
        ("http://[::1]:80/", "http://[::1]:80/"),
    ],
)
def test_urls_go_over_the_wire_in_ascii(url: str, wire: str) -> None:
    """Hosts become IDNA, the rest is percent-encoded, and what is encoded stays."""
    assert ascii_url(url) == wire
    assert ascii_url(wire) == wire


async def test_redirects_to_places_with_other_letters() -> None:
    """A Location of raw UTF-8 is followed."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        location = "Location: /ü b\r\n".encode()
        url = server.route("/x", Answer(raw=b"HTTP/1.1 302 Found\r\n" + location + b"content-length: 0\r\n\r\n"))
        server.route("/%C3%BC%20b", Answer(body=b"there"))
        assert (await fetcher.fetch(Request("GET", url, url))).body == b"there"


@pytest.mark.parametrize(
    ("url", "transport", "bare"),
    [
        ("http://a.example/", Transport(), True),
        ("HTTP://a.example/", Transport(unix_socket="/run/s"), True),
        ("http://a.example/", Transport(proxy="http://p.example:3128"), True),
        ("http://a.example/", Transport(proxy="p.example:3128"), True),
        ("http://a.example/", Transport(proxy="socks5h://p.example"), True),
        ("http://a.example/", Transport(proxy="https://p.example"), False),
        ("http://a.example/", Transport(proxy="HTTPS://p.example"), False),
        ("http://a.example/", Transport(proxy="https://p.example", no_proxy=("a.example",)), True),
        ("https://a.example/", Transport(), False),
        ("https://a.example/", Transport(proxy="http://p.example:3128"), False),
    ],
)
def test_where_the_wire_has_what_is_sent(url: str, transport: Transport, *, bare: bool) -> None:
    """Only where neither the server nor a proxy is spoken to over TLS may bytes go past libcurl."""
    curl = pycurl.Curl()
    try:
        transport = msgspec.structs.replace(transport, http_version="1.1", proxy=transport.proxy or "")
        request = Request("GET", url, url, stream=True, upgrade=True, transport=transport)
        assert apply(curl, request, Surroundings.of(certifi.where(), Policy(), {})).bare == bare
    finally:
        curl.close()
