"""A session against the rules of the specification, another implementation as its server, and whatever may come."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from headwater.sources.split.item import PREVIEW, Bad
from headwater.sources.websocket.closing import Ended
from headwater.sources.websocket.deflate import Deflate
from headwater.sources.websocket.handshake import Agreed, agree, key_of, offer
from headwater.sources.websocket.session import Session
from sources.websocket.peers import DEFLATED, PLAIN, chunks, end_of, fed, head_of, session, unmasked, wire

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=4)


@pytest.mark.parametrize(
    "raw",
    [
        "810548656c6c6f",
        "010348656c80026c6f",
        "c107f248cdc9c90700",
        "4103f248cd8004c9c90700",
        "c10b000500faff48656c6c6f00",
        "c108f348cdc9c9070000",
        "c10df24805000000ffffcac9c90700",
    ],
)
def test_hello(raw: str) -> None:
    """RFC 6455, 5.7, and RFC 7692, 7.2.3: in one frame and in two, compressed in every way that there is."""
    for sizes in ((), (1,)):
        one = session(DEFLATED)
        assert fed(one, bytes.fromhex(raw) * 2, sizes) == [b"Hello", b"Hello"]
        assert end_of(one) is None


def test_a_window_that_is_shared() -> None:
    """RFC 7692, 7.2.3.2: a message refers to the one before; where they stand alone it cannot."""
    raw = bytes.fromhex("c107f248cdc9c90700 c105f200110000")
    assert fed(session(DEFLATED), raw) == [b"Hello", b"Hello"]
    alone = session(Agreed(deflate=Deflate(server_no_context_takeover=True)))
    assert fed(alone, raw) == [b"Hello"]
    assert alone.ended is not None
    assert alone.ended.code == 1007


def test_the_smallest_window() -> None:
    """A server that agreed on 8 bits and has zlib, which writes for 9, is understood."""
    deflater = zlib.compressobj(wbits=-9)
    messages = [bytes(range(256)) * 2] * 3
    raw = b"".join(wire(0xC2, deflater.compress(it) + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]) for it in messages)
    assert fed(session(Agreed(deflate=Deflate(server_max_window_bits=8))), raw) == messages


def test_an_empty_message() -> None:
    """Empty messages are messages: as they are, in fragments, and compressed (RFC 7692, 7.2.3.6)."""
    raw = wire(0x81) + wire(0x82) + wire(0x01) + wire(0x00) + wire(0x80) + wire(0xC1, b"\x00")
    assert fed(session(DEFLATED), raw) == [b""] * 4


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (wire(0x80, b"x"), 1002, "a frame continues a message where there is none"),
        (wire(0x00), 1002, "a frame continues a message where there is none"),
        (wire(0x01, b"x") + wire(0x81, b"y"), 1002, "a message begins within another"),
        (wire(0x02, b"x") + wire(0xC1, b"\x00"), 1002, "a message begins within another"),
        (wire(0x81, b"\xff"), 1007, "a text is not UTF-8"),
        (wire(0x81, b"\xed\xa0\x80"), 1007, "a text is not UTF-8"),
        (wire(0x81, b"\xf4\x90\x80\x80"), 1007, "a text is not UTF-8"),
        (wire(0x81, b"\xc3"), 1007, "a text is not UTF-8"),
        (wire(0x01, b"\xc3") + wire(0x80, b"x"), 1007, "a text is not UTF-8"),
        (wire(0x81, b"x" * 200_000 + b"\xff"), 1007, "a text is not UTF-8"),
        (wire(0x81, "ü".encode() * 100_000 + b"\xc3"), 1007, "a text is not UTF-8"),
        (wire(0xC1, b"\xff\xff"), 1007, "a compressed message cannot be inflated"),
        (wire(0x41, b"\xff\xff") + wire(0x80), 1007, "a compressed message cannot be inflated"),
        (wire(0x42, os.urandom(64) * 1000) + wire(0x80), 1007, "a compressed message cannot be inflated"),
        (wire(0xC1, b"\xfa\x03\x00"), 1007, "a text is not UTF-8"),
        (wire(0x88, b"\x03"), 1002, "a close frame has half a code"),
        (wire(0x88, b"\x03\xee"), 1002, "a close frame has the code 1006, which may not be sent"),
        (wire(0x88, b"\x03\xe8\xff"), 1007, "the reason of a close frame is not UTF-8"),
        (wire(0x83), 1002, "a frame has the reserved opcode 3"),
        (b"\x81\x80\x00\x00\x00\x00", 1002, "a frame is masked"),
        (b"\x89\x7e\x00\x7e" + bytes(126), 1002, "a control frame has more than 125 bytes"),
    ],
)
@pytest.mark.parametrize("sizes", [(), (1,), (7, 1000)])
def test_what_breaks_the_protocol(raw: bytes, code: int, reason: str, sizes: tuple[int, ...]) -> None:
    """It ends the session with the code that is for it, told to the server; messages before it are there."""
    one = session(DEFLATED)
    assert fed(one, wire(0x82, b"before") + raw + wire(0x82, b"behind"), sizes) == [b"before"]
    assert one.ended is not None
    assert (one.ended.code, one.ended.failure) == (code, True)
    assert one.ended.reason.startswith(reason)
    first, said = unmasked(one.outgoing())
    assert (first, said) == (0x88, code.to_bytes(2) + one.ended.reason.encode()[:123])
    assert one.feed(wire(0x82, b"later")) == []
    assert one.outgoing() == b""


def test_utf8_across_fragments() -> None:
    """A character may be cut by fragments, with a ping between them; the bytes stay what they are."""
    text = "κόσμε 𝄞 \ufeff\x00".encode()
    parts = [wire(0x01 if at == 0 else 0x00, text[at : at + 1]) + wire(0x89, b"p") for at in range(len(text))]
    one = session()
    assert fed(one, b"".join([*parts, wire(0x80)])) == [text]
    assert fed(one, wire(0x82, b"\xff\xfe")) == [b"\xff\xfe"]


def test_pings_are_answered() -> None:
    """Each with its own bytes and a fresh key, once; of a flood only the latest."""
    keys = iter(range(1000))
    one = Session(PLAIN, max_message=10, mask=lambda: next(keys).to_bytes(4))
    assert fed(one, wire(0x89) + wire(0x8A, b"unasked") + wire(0x89, b"\xff" * 100)) == []
    sent = one.outgoing()
    assert sent[:6] == b"\x8a\x80\x00\x00\x00\x00"
    assert unmasked(sent[6:]) == (0x8A, b"\xff" * 100)
    assert one.outgoing() == b""
    assert (one.heard, one.pongs) == (3, 1)
    fed(one, b"".join(wire(0x89, bytes([number])) for number in range(250)))
    answers = list(chunks(one.outgoing(), (7,)))
    assert [unmasked(answer) for answer in answers] == [(0x8A, bytes([number])) for number in range(186, 250)]
    assert next(keys) == 66


def test_the_server_closes() -> None:
    """Its code comes back to it, behind the pongs; nothing is sent or heard after that."""
    one = session()
    assert fed(one, wire(0x82, b"last") + wire(0x89, b"?") + wire(0x88, b"\x03\xe9bye") + wire(0x82, b"x")) == [b"last"]
    assert one.ended == Ended(1001, "bye", failure=False)
    sent = one.outgoing()
    assert unmasked(sent[:7]) == (0x8A, b"?")
    assert unmasked(sent[7:]) == (0x88, b"\x03\xe9")
    assert one.feed(wire(0x82, b"x")) == []
    assert one.outgoing() == one.text(b"x") == one.binary(b"x") == one.ping() == one.close() == b""


def test_the_server_closes_without_a_code() -> None:
    """Then the answer has none either."""
    one = session()
    fed(one, wire(0x88))
    assert one.ended == Ended(1005, "", failure=False)
    assert unmasked(one.outgoing()) == (0x88, b"")


def test_we_close() -> None:
    """What comes before the server's answer still counts; nothing more is sent, not even pongs."""
    one = session()
    fed(one, wire(0x89, b"early"))
    assert unmasked(one.close(1000, "enough")) == (0x88, b"\x03\xe8enough")
    assert fed(one, wire(0x82, b"late") + wire(0x89, b"?")) == [b"late"]
    assert end_of(one) is None
    assert one.outgoing() == one.text(b"x") == one.close() == b""
    fed(one, wire(0x88, b"\x03\xe8enough"))
    assert one.ended == Ended(1000, "enough", failure=False)
    assert one.outgoing() == b""


def large(data: bytes, most: str) -> Bad:
    """Return what is told of a message that is too large."""
    size = f"it has {len(data)} B" if len(data) < 1024 else f"it has {len(data) // 1024} KiB"
    digest = sha256(data).hexdigest()
    return Bad(
        f"{size}, more than max_record allows ({most})", data[:PREVIEW], "too-large", size=len(data), digest=digest
    )


@pytest.mark.parametrize("first", [0x81, 0x82])
@pytest.mark.parametrize("sizes", [(), (1,), (1000,)])
@pytest.mark.parametrize("deflated", [False, True])
def test_messages_that_are_too_large(first: int, sizes: tuple[int, ...], deflated: bool) -> None:  # noqa: FBT001
    """They are bad, with size, digest and beginning; those around them are as they are, and fit into the window."""
    messages = [b"a" * 100, "ü".encode() * 2048, b"b" * 101, b"b" * 100, b"a" * 4096, b"a" * 100]
    deflater = zlib.compressobj(wbits=-15)
    raw = b""
    for number, message in enumerate(messages):
        payload = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH) if deflated else message
        payload = payload.removesuffix(b"\x00\x00\xff\xff")
        mark = first | 0x40 if deflated else first
        raw += wire(mark, payload) if number % 2 else wire(mark & 0x7F, payload[:5]) + wire(0x80, payload[5:])
    one = session(DEFLATED, max_message=100)
    assert fed(one, raw, sizes) == [large(message, "100 B") if len(message) > 100 else message for message in messages]
    assert end_of(one) is None


def test_a_text_that_is_too_large_is_still_text() -> None:
    """Characters that are cut anywhere are none the worse; what is no UTF-8 breaks the protocol."""
    text = "aü€𝄞".encode() * 50_000
    one = session(max_message=1000)
    assert [type(item) for item in fed(one, wire(0x81, text), (4095,))] == [Bad]
    for wrong in (text + b"\xc3", text + b"\xff" + text):
        one = session(max_message=1000)
        assert fed(one, wire(0x81, wrong), (4095,)) == []
        assert one.ended is not None
        assert one.ended.code == 1007


@pytest.mark.parametrize("fragment", [1 << 20, 1000])
def test_a_bomb(fragment: int) -> None:
    """A message that inflates to a thousand times its size takes no more memory than a message may have."""
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(32)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    small = deflater.compress(b"next") + deflater.flush(zlib.Z_SYNC_FLUSH)
    parts = [*chunks(bomb.removesuffix(b"\x00\x00\xff\xff"), (fragment,))]
    raw = b"".join(
        wire((0x42 if at == 0 else 0) | (0x80 if at == len(parts) - 1 else 0), part) for at, part in enumerate(parts)
    ) + wire(0xC2, small[:-4])
    one = session(DEFLATED, max_message=64 * 1024)
    tracemalloc.start()
    try:
        bad, following = fed(one, raw, (16 * 1024,))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(bad, Bad)
    assert (bad.size, bad.digest) == (32 << 20, sha256(bytes(32 << 20)).hexdigest())
    assert following == b"next"
    # Inflating takes a window of half a megabyte at once, for what is looked through only.
    assert peak < 3 << 20


def test_many_last_blocks() -> None:
    """Blocks that say that they are the last one, thousands in one message, are each followed by others."""
    one = session(DEFLATED)
    block = b"\x4b\x04\x00"
    assert zlib.decompress(block, -15) == b"a"
    assert fed(one, wire(0xC1, block * 20_000 + b"\x00") + wire(0xC1, b"\x4a\x04\x00")) == [b"a" * 20_000, b"a"]
    assert end_of(one) is None


def test_a_long_message_in_single_bytes() -> None:
    """It is put together without being copied at each of them."""
    text = b"0123456789" * 20_000
    one = session()
    assert fed(one, wire(0x81, text), (1,)) == [text]
    assert one.heard == len(text) + 1


def test_endless_messages_hold_nothing() -> None:
    """Of fragments that never end, only what a message may have is kept."""
    one = session(max_message=1000)
    fed(one, wire(0x02))
    tracemalloc.start()
    try:
        for _ in range(2000):
            fed(one, wire(0x00, bytes(1000)) + wire(0x00))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    (bad,) = fed(one, wire(0x80))
    assert isinstance(bad, Bad)
    assert bad.size == 2_000_000


# Messages of a server: kind, pieces that become fragments, and whether control frames stand between these.
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["text", "binary"]),
        st.lists(
            st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.just(b"abc" * 200),
            min_size=1,
            max_size=4,
        ),
        st.booleans(),
    ),
    max_size=6,
)
BITS = st.sampled_from([None, 9, 12, 15])


@given(MESSAGES, SIZES, st.none() | st.tuples(st.booleans(), st.booleans(), BITS, BITS), st.integers(20, 700))
def test_with_another_implementation(
    messages: list[tuple[str, list[bytes], bool]],
    sizes: list[int],
    parameters: tuple[bool, bool, int | None, int | None] | None,
    most: int,
) -> None:
    """Whatever a server sends in whatever fragments, chunks and compression, its messages come out; ours reach it."""
    server, one = pair(parameters, most)
    wanted: list[bytes | int] = []
    raw = b""
    pings = 0
    for kind, parts, mixed in messages:
        whole = b"".join(parts)
        text = kind == "text" and is_utf8(whole)
        for number, part in enumerate(parts):
            final = number == len(parts) - 1
            if number:
                server.send_continuation(part, fin=final)
            elif text:
                server.send_text(part, fin=final)
            else:
                server.send_binary(part, fin=final)
            if mixed:
                server.send_ping(bytes([pings]))
                server.send_pong(b"unasked")
                pings += 1
        wanted.append(len(whole) if len(whole) > most else whole)
    raw = b"".join(server.data_to_send())
    found: list[bytes | int] = []
    for chunk in chunks(raw, sizes):
        found += [item.size or 0 if isinstance(item, Bad) else item for item in one.feed(chunk)]
        server.receive_data(one.outgoing())
    assert end_of(one) is None
    assert found == wanted
    assert one.pongs == pings
    server.receive_data(
        one.text("grüß".encode()) + one.binary(b"\xff" * 70_000) + one.ping(b"?") + one.close(1001, "so")
    )
    events = [(event.opcode, bytes(event.data)) for event in server.events_received() if isinstance(event, Frame)]
    assert events[:pings] == [(Opcode.PONG, bytes([number])) for number in range(pings)]
    assert events[pings:] == [
        (Opcode.TEXT, "grüß".encode()),
        (Opcode.BINARY, b"\xff" * 70_000),
        (Opcode.PING, b"?"),
        (Opcode.CLOSE, b"\x03\xe9so"),
    ]
    assert fed(one, b"".join(server.data_to_send()), sizes) == []
    assert one.ended == Ended(1001, "so", failure=False)
    assert one.pongs == pings + 1


def test_another_implementation_closes() -> None:
    """Our answer ends its connection cleanly."""
    server, one = pair((False, False, None, None), 100)
    server.send_close(4000, "moved")
    assert fed(one, b"".join(server.data_to_send())) == []
    assert one.ended == Ended(4000, "moved", failure=False)
    server.receive_data(one.outgoing())
    server.receive_eof()
    assert server.state is State.CLOSED
    assert server.close_code == 4000


def pair(parameters: tuple[bool, bool, int | None, int | None] | None, most: int) -> tuple[ServerProtocol, Session]:
    """Return a server of another implementation and a session with it, behind their handshake."""
    extensions = [] if parameters is None else [ServerPerMessageDeflateFactory(*parameters)]
    server = ServerProtocol(extensions=extensions, max_size=None)
    key = key_of(os.urandom(16))
    asked = [("Host", "x"), *offer(compression=True, subprotocols=(), key=key)]
    server.receive_data("\r\n".join(["GET / HTTP/1.1", *(": ".join(pair) for pair in asked), "", ""]).encode())
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    head = head_of(b"".join(server.data_to_send()))
    agreed = agree(head, key=key, compression=True, subprotocols=())
    assert (agreed.deflate is None) is (parameters is None)
    return server, session(agreed, max_message=most)


def is_utf8(data: bytes) -> bool:
    """Return whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


PARTS = st.builds(
    wire,
    st.sampled_from([0x00, 0x01, 0x02, 0x41, 0x42, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0xC2]),
    st.binary(max_size=30)
    | st.sampled_from([b"", b"\x03\xe8", b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\x4b\x04\x00", b"\x00", "€".encode()])
    | st.integers(1, 4).map(lambda size: zlib.compressobj(wbits=-15).flush(zlib.Z_SYNC_FLUSH)[:-4] + bytes(size)),
)


@given(
    st.lists(PARTS | st.binary(max_size=4), max_size=12), SIZES, st.integers(1, 12), st.sampled_from([PLAIN, DEFLATED])
)
def test_whatever_comes(parts: list[bytes], sizes: list[int], most: int, agreed: Agreed) -> None:
    """Any bytes give the same messages and the same end, however they are cut; never another error."""
    raw = b"".join(parts)
    whole = session(agreed, max_message=most)
    cut = session(agreed, max_message=most)
    assert fed(cut, raw, sizes) == fed(whole, raw)
    assert cut.ended == whole.ended
    assert len(cut.outgoing()) == len(whole.outgoing())
    assert all(item.slug == "too-large" if isinstance(item, Bad) else len(item) <= most for item in fed(cut, raw))
