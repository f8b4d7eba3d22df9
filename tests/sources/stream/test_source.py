"""What a stream asks for at each connection, and what its answer means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.core.checkpoint import Checkpoint, Progress
from headwater.core.errors import ProtocolError, ReadTimeoutError, RedirectError
from headwater.core.http import Response
from headwater.sources.judge import Action
from headwater.sources.stream.source import OVER, StreamSource
from sources.stream.test_receiving import MOMENT, source

WS = {"endpoint": "wss://api.example.com/x?a=b"}


def head(status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(status, "HTTP/1.1", headers, b"", "https://api.example.com/x", 0.0, 0)


def asked(one: StreamSource, event_id: str = "") -> dict[str, str]:
    """Return the headers of the next request, names in lower case."""
    known = one.begun(Checkpoint())
    assert known.stream is not None
    known = msgspec.structs.replace(known, stream=msgspec.structs.replace(known.stream, event_id=event_id))
    return {name.lower(): value for name, value in one.request(known, MOMENT, "a2V5").headers}


def test_a_request_is_one_of_a_stream() -> None:
    """Without an end, with a bound for silence: five minutes unless it says otherwise."""
    request = source(stream=True).request(Checkpoint(), MOMENT, "k")
    assert (request.stream, request.upgrade, request.idle_timeout) == (True, False, 300.0)
    assert source(stream=True, idle_timeout="none").request(Checkpoint(), MOMENT, "k").idle_timeout is None
    socket = source(**WS).request(Checkpoint(), MOMENT, "k")
    assert (socket.stream, socket.upgrade, socket.idle_timeout) == (True, True, None)
    assert (socket.method, socket.url) == ("GET", "https://api.example.com/x?a=b")


def test_headers_of_events() -> None:
    """Those of the standard, unless the configuration has its own."""
    assert asked(source(format="sse"))["accept"] == "text/event-stream"
    assert asked(source(format="sse"), "7")["last-event-id"] == "7"
    assert "last-event-id" not in asked(source(format="sse"))
    assert "last-event-id" not in asked(source(stream=True), "7")
    own = asked(source(format="sse", headers={"Accept": "a/b", "cache-control": "max-age=1"}))
    assert (own["accept"], own["cache-control"]) == ("a/b", "max-age=1")


def test_headers_of_a_handshake() -> None:
    """As RFC 6455 has them; the key is that of the connection."""
    options = {**WS, "websocket_config": {"subprotocols": ["a", "b"], "compression": False}}
    headers = asked(source(**options))
    assert headers["sec-websocket-key"] == "a2V5"
    assert headers["sec-websocket-protocol"] == "a, b"
    assert headers["sec-websocket-version"] == "13"
    assert "sec-websocket-extensions" not in headers


JUDGED: list[tuple[dict[str, Any], Response, Action, str]] = [
    ({"stream": True}, head(), Action.STORE, "200 OK"),
    ({"stream": True}, head(206), Action.STORE, "206 Partial Content"),
    ({"stream": True}, head(204), Action.EMPTY, "204 No Content, without content: no record"),
    ({"stream": True}, head(304), Action.FAIL, "304"),
    ({"stream": True}, head(500), Action.FAIL, "500 Internal Server Error"),
    ({"stream": True, "accept_status": [500]}, head(500), Action.STORE, "500 Internal Server Error"),
    ({"stream": True, "accept_content_type": "a/b"}, head(), Action.FAIL, "instead of a/b"),
    ({"format": "sse"}, head(200, ("content-type", "text/event-stream;charset=utf-8")), Action.STORE, "200 OK"),
    ({"format": "sse"}, head(), Action.FAIL, "no Content-Type instead of text/event-stream"),
    ({"format": "sse"}, head(204), Action.FAIL, "the stream is over"),
    (WS, head(101), Action.STORE, "101 Switching Protocols"),
    (WS, head(200), Action.FAIL, "it is no WebSocket"),
    (WS, head(204), Action.FAIL, "it is no WebSocket"),
    (WS, head(404), Action.FAIL, "404 Not Found"),
    (WS, head(302), Action.FAIL, "302 Found"),
]


@pytest.mark.parametrize(("options", "response", "action", "words"), JUDGED)
def test_what_a_head_means(options: dict[str, Any], response: Response, action: Action, words: str) -> None:
    """STORE is followed by the stream, EMPTY is no trouble, FAIL is one; there is no other attempt."""
    one = source(**options)
    verdict = one.judge(response, now=0.0, renewed=False)
    assert verdict.action is action
    assert words in verdict.reason
    assert one.takes(response, now=0.0) == (action is Action.STORE)
    assert (verdict.slug == OVER) == ("over" in words)


def test_html_where_there_was_something_else() -> None:
    """A login page is no stream; for a stream of HTML it is."""
    one, page = source(stream=True), head(200, ("content-type", "text/html"))
    assert one.judge(page, now=0.0, renewed=False).action is Action.STORE
    assert one.judge(page, now=0.0, renewed=False, usual_type="text/html").action is Action.STORE
    assert one.judge(page, now=0.0, renewed=False, usual_type="text/plain").action is Action.FAIL
    assert not one.takes(page, now=0.0, usual_type="text/plain")


def test_a_refused_credential() -> None:
    """It is renewed once, and what is refused then has failed."""
    one = source(
        stream=True,
        auth={
            "type": "oauth2",
            "grant": "client-credentials",
            "token_url": "https://api.example.com/token",
            "client_id": "a",
            "client_secret": "b",
        },
    )
    assert one.judge(head(401), now=0.0, renewed=False).action is Action.REAUTHENTICATE
    assert one.judge(head(401), now=0.0, renewed=True).action is Action.FAIL


def test_waits() -> None:
    """Retry-After is how long a server is left alone; an error of the network says nothing of that."""
    one = source(stream=True)
    verdict = one.judge(head(503, ("retry-after", "7")), now=0.0, renewed=False)
    assert (verdict.action, verdict.wait) == (Action.FAIL, 7.0)
    verdict = one.judge(ReadTimeoutError("GET x: nothing has come"), now=0.0, renewed=False)
    assert (verdict.action, verdict.wait) == (Action.FAIL, 0.0)


def test_a_handshake_that_is_none() -> None:
    """A 101 without the right accept is no WebSocket."""
    one = source(**WS)
    checkpoint = one.begun(Checkpoint())
    request = one.request(checkpoint, MOMENT, "a2V5")
    with pytest.raises(ProtocolError):
        one.receiving(request, head(101, ("upgrade", "websocket")), checkpoint, MOMENT, "a2V5")


def test_who_asks_is_no_part_of_what_is_asked_for() -> None:
    """Another key or release keeps the position; another header, body, method, topic does not."""

    def request(**http: Any) -> str:
        return source(**{"format": "sse", **http}).begun(Checkpoint()).request

    mine = request()
    assert request(user_agent="another") == mine
    assert request(headers={"Authorization": "Bearer x"}) == mine
    assert request(idle_timeout="1m", reconnect={"max": "1m"}) == mine
    key = {"params": {"token": "${{ secrets.KEY }}", "channel": "a"}}
    assert request(**key) == request(**key, KEY="another")
    assert request(headers={"X-Channel": "1"}) != mine
    assert request(method="POST", body="a") != request(method="POST", body="b")
    assert request(endpoint="https://api.example.com/y") != mine


def test_cursors_in_a_request() -> None:
    """They have the values of the checkpoint."""
    one = source(stream=True, params={"since": "${{ cursor.seq | default(null) }}"}, cursor={"seq": {"from": "/seq"}})
    known = one.begun(Checkpoint())
    assert one.request(known, MOMENT, "k").url.endswith("/x")
    known = msgspec.structs.replace(known, progress=Progress(cursors={"seq": 8}))
    assert one.request(known, MOMENT, "k").url.endswith("/x?since=8")


def test_a_secret_is_not_said_at_another_origin() -> None:
    """Headers stay behind in a redirect, and so does what is said; without a secret in it there is nothing to hide."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    answer = (
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    )
    elsewhere = Response(101, "HTTP/1.1", answer, b"", "http://evil.example.com/x", 0.0, 0)
    for message, refused in (("${{ secrets.KEY }}", True), ("hello", False)):
        one = source(**WS, websocket_config={"subscription_messages": [message]})
        request = one.request(Checkpoint(), MOMENT, key)
        for there in (elsewhere, msgspec.structs.replace(elsewhere, url=request.url)):
            if refused and there is elsewhere:
                with pytest.raises(RedirectError, match="what is said there holds a secret") as caught:
                    one.receiving(request, there, Checkpoint(), MOMENT, key)
                assert "t0ps3cret" not in str(caught.value)
            else:
                assert one.receiving(request, there, Checkpoint(), MOMENT, key).intake.greeting()
