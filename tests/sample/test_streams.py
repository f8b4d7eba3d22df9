"""The streams of the sample API, as clients of their protocols see them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from headwater.sample import SampleApi

EVERY = 0.02
PATIENCE = 10


@pytest.fixture
def api() -> Iterator[SampleApi]:
    """Return a sample API that is in a hurry."""
    with SampleApi(every=EVERY) as running:
        yield running


@contextmanager
def asked(api: SampleApi, path: str, method: str = "GET", **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Enter the answer to a request, of which the body is not yet read."""
    with closing(http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=PATIENCE)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as response:
            yield response


def facts(response: http.client.HTTPResponse, count: int) -> list[dict[str, Any]]:
    return [json.loads(response.readline()) for _ in range(count)]


def events(response: http.client.HTTPResponse, count: int) -> list[list[bytes]]:
    """Return the lines of the next events."""
    found = []
    for _ in range(count):
        lines: list[bytes] = []
        while line := response.readline().rstrip(b"\n"):
            lines.append(line)
        found.append(lines)
    return found


def raw(api: SampleApi) -> socket.socket:
    parts = urlsplit(api.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def talking(api: SampleApi) -> AbstractContextManager[ClientConnection]:
    return connect(f"{api.url.replace('http', 'ws', 1)}/ws", open_timeout=PATIENCE, proxy=None)


def said(connection: ClientConnection) -> Any:
    return json.loads(connection.recv(PATIENCE))


def test_a_line_for_each_fact(api: SampleApi) -> None:
    """They come one after the other, each whole, and none is left out."""
    with asked(api, "/stream") as response:
        assert response.getheader("content-type") == "application/x-ndjson"
        told = facts(response, 5)
    assert [it["id"] for it in told] == list(range(told[0]["id"], told[0]["id"] + 5))
    assert all(it["length"] == len(it["fact"]) for it in told)


def test_events_go_on_behind_the_last_one(api: SampleApi) -> None:
    """Each has a name, an id and its data; who sends an id back gets what followed it, at once."""
    with asked(api, "/events") as response:
        assert response.getheader("content-type") == "text/event-stream"
        retry, first = events(response, 2)
    assert retry == [b"retry: 1000"]
    assert first[0] == b"event: fact"
    number = int(first[1].removeprefix(b"id: "))
    assert json.loads(first[2].removeprefix(b"data: "))["id"] == number
    with asked(api, "/events", Last_Event_ID="1") as response:
        _, *missed = events(response, number + 1)
    assert [it[1] for it in missed] == [b"id: %d" % it for it in range(2, number + 2)]


@pytest.mark.parametrize("given", ["", "x", "-1", "1.5", "9" * 5000, "99999999", "\N{SUPERSCRIPT TWO}"])
def test_ids_that_are_none(api: SampleApi, given: str) -> None:
    """Who brings one that this server never gave - garbage, or that of another day - is new: the next fact comes."""
    with asked(api, "/events", Last_Event_ID=quote(given, safe="")) as response:
        retry, first = events(response, 2)
    assert (retry, first[0]) == ([b"retry: 1000"], b"event: fact")


def test_facts_between_two_times(api: SampleApi) -> None:
    """From a time on, before another; the same that the stream has told."""
    with asked(api, "/stream") as response:
        told = facts(response, 4)
    with asked(api, f"/facts?from={told[0]['time']}&to={told[3]['time']}") as response:
        assert json.load(response) == told[:3]
    with asked(api, "/facts?to=1999-01-01T00:00:00Z") as response:
        assert json.load(response) == []
    with asked(api, "/facts?from=soon") as response:
        assert (response.status, json.load(response)) == (400, {"message": "'soon' is no time of ISO 8601"})


@pytest.mark.parametrize(
    ("path", "status"), [("/stream", 200), ("/events", 200), ("/facts", 200), ("/fact", 200), ("/ws", 400)]
)
def test_heads_have_no_body(api: SampleApi, path: str, status: int) -> None:
    """A HEAD is answered as the GET would be, at once."""
    with asked(api, path, "HEAD") as response:
        assert (response.status, response.read()) == (status, b"")


def test_other_methods_are_refused(api: SampleApi) -> None:
    """There is nothing to be sent here."""
    with asked(api, "/stream", "POST") as response:
        assert response.status == 501


def test_a_stream_over_http_one_zero(api: SampleApi) -> None:
    """Who knows no chunks gets none."""
    with closing(raw(api)) as connection:
        connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        lines = connection.makefile("rb")
        head = iter(lines.readline, b"\r\n")
        assert not any(line.lower().startswith(b"transfer-encoding") for line in head)
        assert json.loads(lines.readline())["id"] > 0


def test_who_subscribes_is_told(api: SampleApi) -> None:
    """First that it was heard, then fact after fact."""
    with talking(api) as connection:
        connection.send('{"subscribe":"facts"}')
        assert said(connection) == {"subscribed": "facts"}
        told = [said(connection) for _ in range(3)]
    assert [it["id"] for it in told] == list(range(told[0]["id"], told[0]["id"] + 3))


def test_since_goes_on_behind_a_number(api: SampleApi) -> None:
    """What was missed comes at once; numbers that were never told are none."""
    with asked(api, "/stream") as response:
        facts(response, 3)
    with talking(api) as connection:
        connection.send('{"subscribe":"facts","since":1}')
        assert [said(connection).get("id") for _ in range(3)] == [None, 2, 3]
        connection.send('{"subscribe":"facts","since":123456789012345678901234567890}')
        while "subscribed" not in said(connection):
            pass
        assert said(connection)["id"] < 1_000_000


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "{}",
        "[]",
        '"facts"',
        '{"subscribe":"dogs"}',
        '{"subscribe":"facts","since":-1}',
        '{"subscribe":"facts","since":true}',
        '{"subscribe":"facts","since":"1"}',
        "[" * 20_000,
    ],
)
def test_what_is_not_understood_is_answered(api: SampleApi, message: str) -> None:
    """The answer says what to say, and the connection stays."""
    with talking(api) as connection:
        connection.send(message)
        assert "subscribe" in said(connection)["error"]
        connection.send('{"subscribe":"facts"}')
        assert said(connection) == {"subscribed": "facts"}


def test_pings_and_the_close(api: SampleApi) -> None:
    """A ping has its pong, a pong is nothing, and the close is answered with its code."""
    with talking(api) as connection:
        assert connection.ping(b"there?").wait(PATIENCE)
        connection.pong(b"unasked")
        connection.close(1000, "enough")
        assert connection.close_code == 1000


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda it: it.send(b"\x00\x01"), 1002),
        (lambda it: it.send("x" * 70_000), 1009),
        (lambda it: it.send("x" * 65_536 + "x"), 1009),
        (lambda it: it.socket.sendall(b"\x01\x81\0\0\0\0a"), 1002),
        (lambda it: it.socket.sendall(b"\x81\x01x"), 1002),
        (lambda it: it.socket.sendall(b"\xff" * 64), 1002),
        (lambda it: it.socket.sendall(b"\x81\xff" + b"\x00" * 30), 1009),
    ],
    ids=["binary", "too long", "a byte too long", "in parts", "unmasked", "garbage", "a huge length"],
)
def test_what_is_no_message_ends_the_connection(api: SampleApi, send: Any, code: int) -> None:
    """The close says why."""
    with talking(api) as connection:
        send(connection)
        with pytest.raises(ConnectionClosed):
            connection.recv(PATIENCE)
        assert connection.close_code == code


def test_a_message_byte_by_byte(api: SampleApi) -> None:
    """A frame is taken when it is whole; its mask is undone, also that of one with a longer length."""
    with talking(api) as connection:
        text = b'{"subscribe":"facts"' + b" " * 200 + b"}"
        mask = b"\x01\x02\x03\x04"
        frame = b"\x81\xfe" + len(text).to_bytes(2) + mask
        frame += bytes(byte ^ mask[at & 3] for at, byte in enumerate(text))
        for byte in frame:
            connection.socket.sendall(bytes([byte]))
        assert said(connection) == {"subscribed": "facts"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upgrade": "websocket"},
        {"Upgrade": "h2c", "Sec-WebSocket-Key": "eA==", "Sec-WebSocket-Version": "13"},
        {"Upgrade": "websocket", "Sec-WebSocket-Key": "eA==", "Sec-WebSocket-Version": "12"},
    ],
)
def test_handshakes_that_are_none(api: SampleApi, headers: dict[str, str]) -> None:
    """Who does not ask for a WebSocket is told to."""
    with asked(api, "/ws", **headers) as response:
        assert (response.status, json.load(response)["message"]) == (
            400,
            "this is a WebSocket; ask for it with ws://",
        )


def test_there_is_one_place_for_websockets(api: SampleApi) -> None:
    """Elsewhere a handshake is an ordinary request."""
    with pytest.raises(InvalidStatus):
        connect(f"{api.url.replace('http', 'ws', 1)}/wss", open_timeout=PATIENCE, proxy=None)


def test_its_end_is_prompt_and_proper(capfd: pytest.CaptureFixture[str]) -> None:
    """Streams that are open end with the server, each as its protocol has it, and whoever went is no matter."""
    with ExitStack() as stack:
        with SampleApi(every=EVERY) as api:
            streams = [stack.enter_context(asked(api, path)) for path in ("/stream", "/events")]
            connection = stack.enter_context(talking(api))
            connection.send('{"subscribe":"facts"}')
            said(connection)
            assert all(stream.readline() for stream in streams)
            with closing(raw(api)) as gone:
                gone.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
                gone.recv(1)
            begun = time.monotonic()
        assert time.monotonic() - begun < 2
        for stream in streams:
            # To its end, which the chunks tell.
            stream.read()
        for _ in connection:
            pass
        assert connection.close_code == 1001
    assert capfd.readouterr().err == ""
