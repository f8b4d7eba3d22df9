"""Owns values as YAML text that people read and change: maps, lists and texts in blocks. Reading is the config's.

What is written means the same value when it is read as YAML 1.2. Values are those of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./@%?=&+~-]*(?::[A-Za-z0-9_./@%?=&+~-]+)*")
_DURATION: Final = re.compile(r"\d{1,9}(?:ms|s|m|h|d)")
_WORDS: Final = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n"])
# Longer texts in one block are hard to read, and faster to write in quotes (lines).
_MOST_LINES: Final = 100_000


def value_lines(value: Any, depth: int) -> Iterator[str]:
    """Yield what stands behind the colon of a key at `depth`, and the lines below."""
    indent = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        yield ""
        for key, item in value.items():
            below = list(value_lines(item, depth + 1))
            yield f"{indent}{key_text(key)}:{below[0]}"
            yield from below[1:]
    elif isinstance(value, list) and value:
        yield ""
        for item in value:
            if isinstance(item, dict) and item:
                entries = list(value_lines(item, depth + 1))[1:]
                yield f"{indent}- {entries[0].lstrip()}"
                yield from entries[1:]
            else:
                below = list(value_lines(item, depth + 1))
                yield f"{indent}-{below[0]}"
                yield from below[1:]
    elif isinstance(value, str) and _is_block(value):
        yield " |-"
        yield from (f"{indent}{it}" if it else "" for it in value.split("\n"))
    else:
        yield f" {scalar_text(value)}"


def block_lines(text: str, depth: int) -> Iterator[str]:
    """Yield a text as a block behind a key at `depth`, one line or many; quoted where YAML cannot hold it so."""
    kept = text.removesuffix("\n")
    if not _is_block(kept, least=1):
        yield f" {scalar_text(text)}"
        return
    indent = "  " * (depth + 1)
    yield " |-" if kept == text else " |"
    yield from (f"{indent}{it}" if it else "" for it in kept.split("\n"))


def _is_block(text: str, least: int = 2) -> bool:
    lines = text.split("\n")
    return (
        least <= len(lines) <= _MOST_LINES
        and lines[0][:1] not in {"", " "}
        and lines[-1] != ""
        and all(it.isprintable() and not it.endswith(" ") and "\ufeff" not in it for it in lines)
    )


def key_text(name: str) -> str:
    """Return the key of a map."""
    return scalar_text(name)


def scalar_text(value: Any) -> str:
    """Return a scalar, or an empty list or map, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[]"
    if isinstance(value, dict):
        return "{}"
    text = str(value)
    if _DURATION.fullmatch(text) or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """Return a text in double quotes: what YAML does not allow as it is, escaped."""
    pieces_of = []
    for sign in text:
        code = ord(sign)
        if sign in {'"', "\\"}:
            pieces_of.append(f"\\{sign}")
        elif sign == "\n":
            pieces_of.append("\\n")
        elif sign == "\t":
            pieces_of.append("\\t")
        elif 0xD800 <= code < 0xE000:
            pieces_of.append("\ufffd")
        elif sign.isprintable() and code != 0xFEFF:
            pieces_of.append(sign)
        else:
            pieces_of.append(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")
    return f'"{"".join(pieces_of)}"'
