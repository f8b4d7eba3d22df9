"""Exchanges over libcurl, against raw servers on real sockets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Request
from headwater.fetch import CurlFetcher


@asynccontextmanager
async def serving(
    *answers: bytes, seen: list[bytes] | None = None, hold: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """Serve each request of every connection with the next answer, closing after it; `hold` keeps the last one back."""
    waiting = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        head += await reader.readexactly(length)
        if seen is not None:
            seen.append(head)
        if hold is not None:
            await hold.wait()
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def get(url: str, method: str = "GET", body: bytes | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    return Request(method, url, url, headers, body)


def ok(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_a_whole_response() -> None:
    """Status, version, headers in lower case with their repeats, and the body as it came."""
    async with serving(ok(b"hi\xff", b"X-A: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\n")) as url, CurlFetcher() as fetcher:
        response = await fetcher.fetch(get(f"{url}/path?q=1"))
    assert (response.status, response.version, response.body, response.received) == (200, "HTTP/1.1", b"hi\xff", 3)
    assert response.headers == (("x-a", "1"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "3"))


async def test_the_request_is_what_was_asked_for() -> None:
    """Method, target, headers and body go over the wire as given; nothing but framing is added."""
    seen: list[bytes] = []
    async with serving(ok(b""), seen=seen) as url, CurlFetcher() as fetcher:
        await fetcher.fetch(get(f"{url}/x", "POST", b"a=b", (("User-Agent", "me"), ("X-Empty", ""))))
        await fetcher.fetch(get(f"{url}/x", "DELETE"))
    head = seen[0].split(b"\r\n")
    assert head[0] == b"POST /x HTTP/1.1"
    assert b"User-Agent: me" in head
    assert b"X-Empty:" in head
    assert seen[0].endswith(b"\r\n\r\na=b")
    assert not [line for line in head if line.lower().startswith((b"content-type", b"expect"))]
    assert seen[1].startswith(b"DELETE /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", errors.ResetError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", errors.TruncatedError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FetchError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", FetchError),
        (b"220 this is a mail server\r\n", errors.ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", errors.ProtocolError),
    ],
)
async def test_broken_answers_are_errors_of_the_tree(answer: bytes, kind: type[FetchError]) -> None:
    """Each way of breaking an answer is a FetchError that names the request and can be retried."""
    async with serving(answer) as url, CurlFetcher() as fetcher:
        with pytest.raises(kind, match=f"GET {url}/x: ") as caught:
            await fetcher.fetch(get(f"{url}/x"))
    assert caught.value.retryable


async def test_nobody_listens() -> None:
    """A refused connection is a ConnectError."""
    async with serving(b"") as url:
        pass
    async with CurlFetcher() as fetcher:
        with pytest.raises(errors.ConnectError):
            await fetcher.fetch(get(url))


async def test_a_hung_server_meets_the_time_out() -> None:
    """A server that never answers costs its total time-out, not more."""
    hold = asyncio.Event()
    async with serving(ok(b""), hold=hold) as url, CurlFetcher() as fetcher:
        request = msgspec.structs.replace(get(url), total_timeout=0.05)
        with pytest.raises(errors.ReadTimeoutError):
            await fetcher.fetch(request)
        hold.set()


async def test_a_body_beyond_the_bound_is_cut() -> None:
    """The bound holds after decompression, and nothing of the body is kept."""
    bomb = gzip.compress(bytes(10_000_000))
    answer = ok(bomb, b"Content-Encoding: gzip\r\n")
    async with serving(answer) as url, CurlFetcher() as fetcher:
        request = msgspec.structs.replace(get(url), max_body=1_000_000)
        with pytest.raises(errors.BodyTooLargeError, match=r"larger than 976\.6 KiB"):
            await fetcher.fetch(request)


async def test_redirects_are_followed_without_credentials_across_origins() -> None:
    """The second server sees neither the authorization nor the secret header; the first does."""
    first: list[bytes] = []
    second: list[bytes] = []
    async with serving(ok(b"there"), seen=second) as target:
        hop = b"HTTP/1.1 302 Found\r\nLocation: " + target.encode() + b"/y\r\nContent-Length: 0\r\n\r\n"
        async with serving(hop, seen=first) as url, CurlFetcher() as fetcher:
            headers = (("Authorization", "Bearer s3cret"), ("X-Key", "s3cret"), ("X-Open", "1"))
            request = msgspec.structs.replace(get(url, headers=headers), secret_headers=frozenset({"x-key"}))
            response = await fetcher.fetch(request)
    assert (response.body, response.redirects) == (b"there", 1)
    assert first[0].count(b"s3cret") == 2
    assert b"s3cret" not in second[0]
    assert b"X-Open: 1" in second[0]


async def test_a_redirect_loop_ends() -> None:
    """Too many redirects are a RedirectError."""
    loop = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    async with serving(loop) as url, CurlFetcher() as fetcher:
        with pytest.raises(errors.RedirectError, match="more than 10 times"):
            await fetcher.fetch(get(url))


async def test_cancelling_cuts_the_exchange() -> None:
    """After a cancelled exchange the fetcher goes on with others."""
    hold = asyncio.Event()
    seen: list[bytes] = []
    async with serving(ok(b"x"), seen=seen, hold=hold) as url, CurlFetcher(most_in_flight=1) as fetcher:
        hanging, waiting = (asyncio.create_task(fetcher.fetch(get(url))) for _ in range(2))
        await asyncio.sleep(0)
        hanging.cancel()
        hold.set()
        assert (await waiting).body == b"x"


async def test_two_hundred_at_once() -> None:
    """Many exchanges run side by side, each with its own answer."""
    async with serving(ok(b"x")) as url, CurlFetcher() as fetcher:
        responses = await asyncio.gather(*(fetcher.fetch(get(f"{url}/{number}")) for number in range(200)))
    assert [response.body for response in responses] == [b"x"] * 200


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=5000))
def test_bodies_survive(body: bytes) -> None:
    """Whatever bytes a body has, they arrive."""

    async def exchange() -> bytes:
        async with serving(ok(body)) as url, CurlFetcher() as fetcher:
            return (await fetcher.fetch(get(url))).body

    assert asyncio.run(exchange()) == body
