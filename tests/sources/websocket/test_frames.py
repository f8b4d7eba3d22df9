"""Frames on the wire: the examples of the specification, its rules, and any bytes in any chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.websocket.frames import BEGINS, BINARY, ENDS, PING, PONG, TEXT, WHOLE, Frames, frame
from sources.websocket.peers import chunks, wire

KEY = bytes.fromhex("37fa213d")


@pytest.mark.parametrize(
    ("raw", "first", "payload"),
    [
        ("810548656c6c6f", 0x81, b"Hello"),
        ("010348656c", 0x01, b"Hel"),
        ("80026c6f", 0x80, b"lo"),
        ("890548656c6c6f", 0x89, b"Hello"),
        ("827e0100" + "ab" * 256, 0x82, b"\xab" * 256),
        ("827f0000000000010000" + "cd" * 65_536, 0x82, b"\xcd" * 65_536),
    ],
)
def test_the_frames_of_the_specification(raw: str, first: int, payload: bytes) -> None:
    """RFC 6455, 5.7: those that a server sends are found whole."""
    frames = Frames(compression=False)
    assert frames.feed(bytes.fromhex(raw)) == [(first | WHOLE, payload)]
    assert frames.fault == ""


def test_masked_frames_of_the_specification() -> None:
    """RFC 6455, 5.7: those that a client sends are written so."""
    assert frame(TEXT, b"Hello", KEY) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert frame(PONG, b"Hello", KEY) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert frame(PING, b"", KEY) == bytes.fromhex("898037fa213d")


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, "82fd"),
        (126, "82fe007e"),
        (65_535, "82feffff"),
        (65_536, "82ff0000000000010000"),
    ],
)
def test_lengths_are_written_in_the_shortest_form(size: int, head: str) -> None:
    """At the borders of the three forms (RFC 6455, 5.2)."""
    written = frame(BINARY, bytes(size), KEY)
    assert written.startswith(bytes.fromhex(head) + KEY)
    assert written.endswith((KEY * size)[:size])
    assert len(written) == len(head) // 2 + 4 + size


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("c100", "a frame is marked as compressed, which was not agreed"),
        ("a100", "a frame with the opcode 1 has a reserved bit set"),
        ("9100", "a frame with the opcode 1 has a reserved bit set"),
        ("c900", "a frame with the opcode 9 has a reserved bit set"),
        ("c000", "a frame with the opcode 0 has a reserved bit set"),
        ("8300", "a frame has the reserved opcode 3"),
        ("8f00", "a frame has the reserved opcode 15"),
        ("0900", "a control frame is fragmented"),
        ("0800", "a control frame is fragmented"),
        ("897e", "a control frame has more than 125 bytes"),
        ("887f", "a control frame has more than 125 bytes"),
        ("8180", "a frame is masked"),
        ("818537fa213d7f9f4d5158", "a frame is masked"),
        ("817e007d", "a frame's length, 125, is not written as it must be"),
        ("817f000000000000ffff", "a frame's length, 65535, is not written as it must be"),
        ("817f8000000000000000", f"a frame's length, {1 << 63}, is not written as it must be"),
    ],
)
@pytest.mark.parametrize("sizes", [(), (1,)])
def test_what_no_server_may_send(raw: str, fault: str, sizes: tuple[int, ...]) -> None:
    """Found as soon as the bytes are there that say so, behind what was right."""
    frames = Frames(compression=False)
    pieces = []
    for chunk in chunks(wire(0x82, b"ok") + bytes.fromhex(raw), sizes):
        pieces += frames.feed(chunk)
        if frames.fault:
            break
    assert frames.fault == fault
    assert b"".join(payload for _, payload in pieces) == b"ok"


def test_compressed_messages_are_marked_on_their_first_frame() -> None:
    """RFC 7692, 6: on others the bit stays reserved."""
    assert Frames(compression=True).feed(wire(0xC1, b"a") + wire(0x42)) == [(0xC1 | WHOLE, b"a"), (0x42 | WHOLE, b"")]
    for first in (0x40, 0xC0, 0xC8, 0xC9, 0xE1):
        frames = Frames(compression=True)
        assert frames.feed(wire(first)) == []
        assert frames.fault.endswith("has a reserved bit set")


def test_a_frame_is_passed_on_while_it_arrives() -> None:
    """Of one that promises more than any memory has, nothing is held but its head."""
    frames = Frames(compression=False)
    head = b"\x82\x7f" + ((1 << 63) - 1).to_bytes(8)
    assert frames.feed(head[:5]) == []
    assert frames.feed(head[5:] + b"abc") == [(0x82 | BEGINS, b"abc")]
    assert frames.feed(b"defg") == [(0x82, b"defg")]
    assert frames._left == (1 << 63) - 1 - 7
    assert frames._rest == b""


def test_a_control_frame_comes_whole() -> None:
    """However it is cut, and whatever follows it."""
    frames = Frames(compression=False)
    raw = wire(0x89, b"x" * 125)
    assert [frames.feed(raw[at : at + 1]) for at in range(126)] == [[]] * 126
    assert frames.feed(raw[126:] + wire(0x01, b"ab")[:3]) == [(0x89 | WHOLE, b"x" * 125), (0x01 | BEGINS, b"a")]
    assert frames.feed(b"b") == [(0x01 | ENDS, b"b")]


FRAMES = st.builds(
    wire, st.sampled_from([0x01, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]), st.binary(max_size=125) | st.just(bytes(300))
)


@given(st.lists(FRAMES | st.binary(max_size=12), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_chunks_do_not_matter(parts: list[bytes], sizes: list[int]) -> None:
    """Frames, or rubbish, give the same frames and the same fault, however they are cut."""
    raw = b"".join(parts)
    whole = Frames(compression=False)
    cut = Frames(compression=False)
    wanted = together(whole.feed(raw))
    found = []
    for chunk in chunks(raw, sizes):
        found += cut.feed(chunk)
        if cut.fault:
            break
    assert together(found) == wanted
    assert cut.fault == whole.fault


def together(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Put the pieces of each frame together."""
    whole: list[tuple[int, bytes]] = []
    for mark, payload in pieces:
        if mark & BEGINS:
            whole.append((mark, payload))
        else:
            first, before = whole[-1]
            whole[-1] = (first | mark, before + payload)
    return whole
