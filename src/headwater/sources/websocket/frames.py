"""Owns frames as they are on the wire (RFC 6455, 5.2): finds a server's in any chunks, and writes a client's.

What they mean together is the session's. Of a frame that has not come whole only its head is held: what is there of a
message is passed on at once.
"""

from __future__ import annotations

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
# What of a first byte is the opcode, and which bit of that control frames have.
OPCODE = 0xF
CONTROL = 0x8
FINAL = 0x80
# The reserved bit that says that a message is compressed (RFC 7692, 6).
COMPRESSED = 0x40

# What a piece is beside its frame's first byte: its beginning, its end; a whole frame is both.
BEGINS = 0x100
ENDS = 0x200
WHOLE = BEGINS | ENDS

Piece = tuple[int, bytes]

# The first bytes that frames may have: what is fragmented, reserved or unknown is not among those of control frames.
_PLAIN = frozenset(
    {
        *(final | opcode for final in (0, FINAL) for opcode in (CONTINUATION, TEXT, BINARY)),
        *(FINAL | opcode for opcode in (CLOSE, PING, PONG)),
    }
)
_DEFLATED = _PLAIN | {final | COMPRESSED | opcode for final in (0, FINAL) for opcode in (TEXT, BINARY)}


class Frames:
    """Finds the frames that a server sends. With `compression` the first frames of messages may be marked so.

    `fault` says how it broke the protocol, once it has: then nothing is to be fed any more. Control frames come whole.
    """

    __slots__ = ("_known", "_left", "_mark", "_rest", "fault")

    def __init__(self, *, compression: bool) -> None:
        self._known = _DEFLATED if compression else _PLAIN
        # The bytes of a head, or of a control frame, that is not whole.
        self._rest = b""
        # Of the frame that is passed on in pieces: how many bytes are still to come, and its first byte.
        self._left = 0
        self._mark = 0
        self.fault = ""

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes; return pieces of frames: a first byte with BEGINS and ENDS, and bytes of the payload."""
        pieces: list[Piece] = []
        at = self._left
        if at:
            if len(data) < at:
                self._left -= len(data)
                return [(self._mark, data)]
            pieces.append((self._mark | ENDS, data[:at]))
            self._left = 0
        elif self._rest:
            data = self._rest + data
        known = self._known
        end = len(data)
        while end - at >= 2:
            first = data[at]
            size = data[at + 1]
            start = at + 2
            if first not in known:
                self.fault = _unknown(first)
                break
            if size > 125:
                start, size = self._long(data, at)
                if not start:
                    break
            stop = start + size
            if stop <= end:
                pieces.append((first | WHOLE, data[start:stop]))
                at = stop
                continue
            if first & CONTROL:
                break
            pieces.append((first | BEGINS, data[start:]))
            self._left = stop - end
            self._mark = first
            at = end
        self._rest = data[at:]
        return pieces

    def _long(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where the payload of a frame with a long length begins, and that length; 0 where there is none."""
        form = data[at + 1]
        if form > 127:
            self.fault = "a frame is masked"
            return 0, 0
        if data[at] & CONTROL:
            self.fault = "a control frame has more than 125 bytes"
            return 0, 0
        start = at + (4 if form == 126 else 10)
        if start > len(data):
            return 0, 0
        size = int.from_bytes(data[at + 2 : start])
        # The shortest form must be taken, and the highest bit be none.
        if size < 126 if form == 126 else size < 65_536 or size >> 63:
            self.fault = f"a frame's length, {size}, is not written as it must be"
            return 0, 0
        return start, size


def frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """Return a client's frame, a whole message or a control frame, masked with a key of four bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((FINAL | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((FINAL | opcode, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((FINAL | opcode, 0x80 | 127)) + size.to_bytes(8)
    # The key, repeated, as one number: exclusive or of two numbers works on all bytes at once.
    mask = int.from_bytes((key * (size // 4 + 1))[:size])
    return head + key + (int.from_bytes(payload) ^ mask).to_bytes(size)


def _unknown(first: int) -> str:
    """Return what is wrong with a frame's first byte."""
    opcode = first & OPCODE
    if first & 0x30 or (first & COMPRESSED and (opcode == CONTINUATION or opcode & CONTROL)):
        return f"a frame with the opcode {opcode} has a reserved bit set"
    if opcode in {CLOSE, PING, PONG}:
        return "a control frame is fragmented"
    if opcode in {CONTINUATION, TEXT, BINARY}:
        return "a frame is marked as compressed, which was not agreed"
    return f"a frame has the reserved opcode {opcode}"
