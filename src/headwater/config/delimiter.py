"""Owns delimiters as people write them: what stands between the parts of an answer or of a stream."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from headwater.config.fields import plain_text

_WORDS = {"tab": "\t", "newline": "\n"}
_ESCAPES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|.)", re.DOTALL)


def _delimiter(value: object) -> object:
    value = plain_text(value)
    if not isinstance(value, str):
        return value
    text = _WORDS.get(value.lower(), value)

    def opened(match: re.Match[str]) -> str:
        if match[1]:
            code = int(match[1], 16)
            # A byte that is no ASCII is none of UTF-8 either: it stays that byte.
            return chr(code if code < 0x80 else 0xDC00 + code)
        if match[0] not in _ESCAPES:
            raise ValueError(f"{value!r} has the unknown escape {match[0]}; there are \\n \\r \\t \\0 \\\\ and \\x1e")
        return _ESCAPES[match[0]]

    text = _ESCAPE.sub(opened, text)
    if not text:
        raise ValueError("the delimiter is empty")
    return text


# A text of one character or more; a byte that is no UTF-8 is a surrogate in it, as Python's surrogateescape has them.
Delimiter = Annotated[str, BeforeValidator(_delimiter)]


def delimiter_bytes(delimiter: str) -> bytes:
    """Return the bytes that a delimiter stands for."""
    return delimiter.encode("utf-8", "surrogateescape")
