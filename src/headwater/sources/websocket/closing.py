"""Owns how a connection ends: the codes of close frames, what stands in one, and what is told of an end.

What breaks the protocol is found elsewhere, and raised as a Violation.
"""

from __future__ import annotations

import msgspec

NORMAL = 1000
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
INVALID_DATA = 1007

# What the registered codes mean (RFC 6455, 7.4.1, and IANA's registry).
_WORDS = {
    1000: "normal",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid data",
    1008: "against its policy",
    1009: "message too big",
    1010: "an extension is missing",
    1011: "internal error",
    1012: "it restarts",
    1013: "try again later",
    1014: "bad gateway",
}
# Those that stand for the lack of a frame, or of a code in it, and never are in one.
_NEVER_SENT = frozenset({1004, 1005, 1006, 1015})
# How long the reason may be: a control frame has 125 bytes, two of which are the code.
_MOST_REASON = 123


class Violation(Exception):  # noqa: N818 - what the specification calls it; it never leaves a session
    """The peer broke the protocol: the code to close with, and a sentence that says how."""

    def __init__(self, sentence: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(sentence)
        self.code = code


class Ended(msgspec.Struct, frozen=True):
    """How a connection ended. With `failure` the peer broke the protocol, `code` is ours and `reason` says how.

    Otherwise the peer closed: `code` and `reason` are its own, 1005 where it gave no code.
    """

    code: int
    reason: str
    failure: bool

    def told(self) -> str:
        """Return the end as a part of a sentence."""
        if self.failure:
            return f"the server broke the WebSocket protocol ({self.code}): {self.reason}"
        if self.code == NO_STATUS:
            return "the server closed the WebSocket without a code"
        words = _WORDS.get(self.code)
        return (
            f"the server closed the WebSocket with {self.code}"
            + (f" ({words})" if words else "")
            + (f": {self.reason}" if self.reason else "")
        )


def may_be_sent(code: int) -> bool:
    """Return whether a code may stand in a close frame (RFC 6455, 7.4): registered, a library's, or private."""
    return (1000 <= code <= 1014 and code not in _NEVER_SENT) or 3000 <= code <= 4999


def payload(code: int, reason: str) -> bytes:
    """Return what stands in a close frame; nothing for 1005. A reason that is too long is cut."""
    if code == NO_STATUS:
        return b""
    words = reason.encode(errors="replace")[:_MOST_REASON].decode(errors="ignore")
    return code.to_bytes(2) + words.encode()


def read(data: bytes) -> Ended:
    """Return what a peer's close frame says. Raises Violation."""
    if not data:
        return Ended(NO_STATUS, "", failure=False)
    if len(data) == 1:
        raise Violation("a close frame has half a code")
    code = int.from_bytes(data[:2])
    if not may_be_sent(code):
        raise Violation(f"a close frame has the code {code}, which may not be sent")
    try:
        words = data[2:].decode()
    except UnicodeDecodeError:
        raise Violation("the reason of a close frame is not UTF-8", INVALID_DATA) from None
    # It is shown on terminals, to which other signs are commands.
    return Ended(code, "".join(sign if sign.isprintable() else "\ufffd" for sign in words), failure=False)
