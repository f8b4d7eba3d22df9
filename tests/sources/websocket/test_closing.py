"""The codes of close frames, and what is told of an end."""

from __future__ import annotations

import pytest

from headwater.sources.websocket.closing import Ended, Violation, may_be_sent, payload, read


def test_codes_that_may_be_sent() -> None:
    """Registered ones but those that stand for the lack of one; all of libraries and private ones (RFC 6455, 7.4)."""
    registered = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
    assert {code for code in range(65_536) if may_be_sent(code)} == registered | set(range(3000, 5000))


def test_what_a_close_frame_says() -> None:
    """A code and a reason, a code alone, or nothing."""
    assert read(b"") == Ended(1005, "", failure=False)
    assert read(b"\x03\xe8") == Ended(1000, "", failure=False)
    assert read(b"\x0b\xb8" + "grüß dich".encode()) == Ended(3000, "grüß dich", failure=False)


@pytest.mark.parametrize(
    ("data", "code", "sentence"),
    [
        (b"\x03", 1002, "a close frame has half a code"),
        (b"\x03\xed", 1002, "a close frame has the code 1005, which may not be sent"),
        (b"\xff\xff", 1002, "a close frame has the code 65535, which may not be sent"),
        (b"\x03\xe8\xff", 1007, "the reason of a close frame is not UTF-8"),
        (b"\x03\xe8\xed\xa0\x80", 1007, "the reason of a close frame is not UTF-8"),
    ],
)
def test_what_a_close_frame_must_not_say(data: bytes, code: int, sentence: str) -> None:
    """Each is a violation with its own code."""
    with pytest.raises(Violation, match=sentence) as caught:
        read(data)
    assert caught.value.code == code


def test_what_stands_in_a_close_frame() -> None:
    """A reason that is too long is cut between characters."""
    assert payload(1005, "") == b""
    assert payload(1000, "") == b"\x03\xe8"
    long = payload(1002, "x" + "ü" * 100)
    assert long == b"\x03\xea" + b"x" + "ü".encode() * 61
    assert len(long) == 125


def test_what_is_told() -> None:
    """Who ended it, with which code, what that means, and why."""
    assert Ended(1001, "bye", failure=False).told() == "the server closed the WebSocket with 1001 (going away): bye"
    assert Ended(4001, "", failure=False).told() == "the server closed the WebSocket with 4001"
    assert Ended(1005, "", failure=False).told() == "the server closed the WebSocket without a code"
    assert (
        Ended(1002, "a frame is masked", failure=True).told()
        == "the server broke the WebSocket protocol (1002): a frame is masked"
    )


def test_a_reason_is_no_command_for_a_terminal() -> None:
    """Signs that are not shown are replaced: it stands in the ledger."""
    assert read(b"\x03\xe8a\x1b[2J\r\nb").reason == "a\ufffd[2J\ufffd\ufffdb"
