"""Every way an exchange can fail has its own type, a sentence and a hint: real sockets, real TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cramjam
import msgspec
import pycurl
import pytest

from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Request
from headwater.fetch import CurlFetcher
from headwater.fetch.failure import CODES, Ending, failure
from headwater.testing import Answer, Certificates, ScriptedServer

BODY = b"0123456789" * 10


def get(url: str, **settings: object) -> Request:
    return msgspec.structs.replace(Request("GET", url, url), **settings)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(cut=-1), errors.ResetError, "closed without an answer"),
        (Answer(cut=-1, reset=True), errors.ResetError, "reset"),
        (Answer(body=BODY, cut=50), errors.TruncatedError, "ended early"),
        (Answer(body=BODY, cut=50, reset=True), errors.ResetError, "reset"),
        (Answer(body=BODY, cut=30, chunked=True), errors.TruncatedError, "ended early"),
        (
            Answer(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk\r\n"),
            errors.ProtocolError,
            "chunk",
        ),
        (Answer(body=BODY, headers=(("content-encoding", "br"),)), errors.ProtocolError, "does not decompress"),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n"), errors.ProtocolError, "not HTTP"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000 + b"\r\n\r\n"), errors.ProtocolError, "headers"),
        (Answer(302, headers=(("location", "file:///etc/passwd"),)), errors.RedirectError, "not http or https"),
        (Answer(302, headers=(("location", "http://[bad"),)), errors.RedirectError, "not http or https"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_faults_of_servers(answer: Answer, kind: type[FetchError], said: str) -> None:
    """The type says what may be done, the sentence names the request, the hint says what a person can do."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", answer)
        with pytest.raises(kind, match=said) as caught:
            await fetcher.fetch(get(url))
    assert caught.value.message.startswith(f"GET {url}")
    assert caught.value.hint


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(body=BODY, drip=0.05)])
async def test_hanging_and_dripping(answer: Answer) -> None:
    """A server that never ends costs the total time-out."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", answer)
        with pytest.raises(errors.ReadTimeoutError, match="no whole response in time"):
            await fetcher.fetch(get(url, total_timeout=0.2))


@contextmanager
def full_backlog() -> Iterator[str]:
    """Listen without ever accepting, with the queue of connections full: the next SYN is not answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            for client in waiting:
                client.close()


async def test_no_connection_in_time() -> None:
    """A host that does not answer at all is a ConnectTimeoutError, long before the total time-out."""
    with full_backlog() as url:
        async with CurlFetcher() as fetcher:
            with pytest.raises(errors.ConnectTimeoutError, match="no connection in time"):
                await fetcher.fetch(get(url, connect_timeout=0.2))


async def test_names_that_do_not_resolve() -> None:
    """A name under .invalid never resolves (RFC 6761)."""
    async with CurlFetcher() as fetcher:
        with pytest.raises(errors.DnsError, match="does not resolve"):
            await fetcher.fetch(get("http://nobody.invalid/", connect_timeout=20))


async def test_tls(tmp_path: Path) -> None:
    """A trusted certificate is good; an unknown authority, an expired one, another host and plain HTTP are not."""
    unknown, good = Certificates(tmp_path), Certificates(tmp_path)  # the second one's bundle stays
    async with CurlFetcher(trusted=str(good.bundle)) as fetcher:
        async with ScriptedServer(tls=good.context()) as server:
            assert (await fetcher.fetch(get(server.route("/x", Answer(body=b"hi"))))).body == b"hi"
        for context, said in (
            (unknown.context(), "certificate"),
            (good.context(expired=True), "expired"),
            (good.context("other.example"), "127.0.0.1|host"),
        ):
            async with ScriptedServer(tls=context) as server:
                with pytest.raises(errors.TlsError, match=said) as caught:
                    await fetcher.fetch(get(server.route("/x", Answer())))
            assert not caught.value.retryable
            assert "SSL_CERT_FILE" in caught.value.hint
        async with ScriptedServer() as server:
            url = server.route("/x", Answer()).replace("http:", "https:")
            with pytest.raises(errors.ConnectTimeoutError):
                await fetcher.fetch(get(url, connect_timeout=0.2))


async def test_no_file_of_authorities() -> None:
    """A missing bundle is a TlsError that names it, not a crash."""
    async with ScriptedServer() as server, CurlFetcher(trusted="/nowhere.pem") as fetcher:
        with pytest.raises(errors.TlsError):
            await fetcher.fetch(get(server.route("/x", Answer()).replace("http:", "https:")))


async def test_ipv6() -> None:
    """An IPv6 address in brackets works."""
    async with ScriptedServer(host="::1") as server, CurlFetcher() as fetcher:
        assert (await fetcher.fetch(get(server.route("/x", Answer(body=b"six"))))).body == b"six"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
async def test_compressed_bodies(encoding: str) -> None:
    """Compressed bodies arrive as they were before; `received` counts what came over the wire."""
    compress = {"gzip": cramjam.gzip.compress, "br": cramjam.brotli.compress, "deflate": cramjam.zlib.compress}
    packed = bytes(compress[encoding](BODY * 100))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=packed, headers=(("content-encoding", encoding),)))
        response = await fetcher.fetch(get(url))
        assert encoding in str(server.received[0].header("accept-encoding"))
    assert response.body == BODY * 100
    assert response.received == len(packed)


async def test_connections_are_kept() -> None:
    """Polls of one server in turn use one connection."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"x"))
        for _ in range(5):
            await fetcher.fetch(get(url))
        assert server.connections == 1


async def test_a_kept_connection_that_died_is_no_failure() -> None:
    """A server that closes an idle connection costs nothing: the request goes out on a new one."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"x", close=True))
        for _ in range(3):
            assert (await fetcher.fetch(get(url))).body == b"x"


async def test_too_many_headers_and_endless_bodies() -> None:
    """More headers than anybody needs, and a body beyond its bound, are cut."""
    many = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n"
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        with pytest.raises(errors.ProtocolError):
            await fetcher.fetch(get(server.route("/many", Answer(raw=many))))
        url = server.route("/large", Answer(body=bytes(1_000_000), chunked=True))
        with pytest.raises(errors.BodyTooLargeError, match="cut"):
            await fetcher.fetch(get(url, max_body=999_999))
        assert len((await fetcher.fetch(get(url, max_body=1_000_000))).body) == 1_000_000


async def test_what_waits_for_its_turn_is_bounded() -> None:
    """An exchange that finds no free place within its time-out says so."""
    async with ScriptedServer() as server, CurlFetcher(most_in_flight=1) as fetcher:
        url = server.route("/x", Answer(hang=True))
        first = asyncio.create_task(fetcher.fetch(get(url)))
        await asyncio.sleep(0)
        with pytest.raises(errors.ConnectTimeoutError, match="under way all the time"):
            await fetcher.fetch(get(url, total_timeout=0.05))
        first.cancel()


async def test_a_failure_after_a_redirect_is_not_harmless() -> None:
    """The first hop of a redirected POST has seen it, even if the second cannot be reached at all."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(303, headers=(("location", "http://127.0.0.1:1/"),)))
        with pytest.raises(errors.ConnectError) as caught:
            await fetcher.fetch(get(url, method="POST", body=b"x"))
        assert caught.value.sent
        with pytest.raises(errors.ConnectError) as caught:
            await fetcher.fetch(get("http://127.0.0.1:1/", method="POST", body=b"x"))
        assert not caught.value.sent


async def test_leaving_cuts_what_is_under_way() -> None:
    """Closing the fetcher cancels its exchanges instead of hanging."""
    async with ScriptedServer() as server:
        async with CurlFetcher() as fetcher:
            hanging = asyncio.create_task(fetcher.fetch(get(server.route("/x", Answer(hang=True)))))
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await hanging


@pytest.mark.parametrize("url", ["http://", "http://a b/", "http://127.0.0.1:99999/"])
async def test_requests_that_cannot_be_sent(url: str) -> None:
    """What libcurl refuses is a RequestError, and the fetcher goes on."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        with pytest.raises(errors.RequestError):
            await fetcher.fetch(get(url))
        assert (await fetcher.fetch(get(server.route("/x", Answer())))).status == 200


@pytest.mark.parametrize("code", sorted({value for name, value in vars(pycurl).items() if name.startswith("E_")}))
def test_every_code_is_mapped(code: int) -> None:
    """Whatever number libcurl ends with, it becomes an error of the tree with a sentence and a hint."""
    error = failure(get("http://h/"), Ending(code, "words", sent=True))
    assert isinstance(error, FetchError)
    assert type(error) is not FetchError
    assert "GET http://h/" in error.message
    assert error.hint


def test_the_mapping_is_of_every_kind() -> None:
    """Each type that libcurl can cause is in the table."""
    kinds = {kind for kind, _, _ in CODES.values()}
    for kind in (errors.DnsError, errors.ConnectError, errors.TlsError, errors.ResetError, errors.TruncatedError):
        assert kind in kinds
