"""Owns how a record looks on standard output: formats and templates of `fluvio consume`. Reads nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from headwater.core.record import StoredRecord

FORMATS = ("dynamic", "text", "binary", "json", "raw", "table")

_PLACEHOLDER = re.compile(r"\{\{\s*(key|value|offset|partition|time)\s*\}\}")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\\\": "\\"}
_ESCAPE = re.compile(r"\\[ntr\\]")

Values = Callable[[Sequence[bytes]], bytes]
Records = Callable[[StoredRecord], bytes]


def text_of(value: bytes) -> str:
    """Return bytes as text; what is not UTF-8 becomes U+FFFD."""
    return value.decode("utf-8", errors="replace")


def is_text(value: bytes) -> bool:
    """Return whether a value can be shown as it is: UTF-8 without NUL."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in value


def hex_dump(value: bytes) -> str:
    """Return a hex dump: offset, sixteen bytes, and those that are printable."""
    lines = []
    for start in range(0, len(value), 16):
        row = value[start : start + 16]
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  |{printable}|")
    return "\n".join(lines)


def shown_time(timestamp: int) -> str:
    """Return RFC 3339 in UTC with milliseconds, or NA when a record has no time."""
    if timestamp < 0:
        return "NA"
    try:
        return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return "NA"


def value_text(value: bytes, form: str) -> bytes:
    """Return one value as `-O form` shows it, without a line end."""
    if form == "raw":
        return value
    if form == "dynamic":
        return value if is_text(value) else hex_dump(value).encode()
    if form == "binary":
        return hex_dump(value).encode()
    if form == "json":
        try:
            parsed = json.loads(value)
        except ValueError as error:
            parsed = {"error": f"not JSON: {error}"}
        return json.dumps(parsed, indent=2, ensure_ascii=False).encode("utf-8", errors="replace")
    return text_of(value).encode()


def fast_lines(values: Sequence[bytes], form: str) -> bytes | None:
    """Return all values as lines at once, or None when they need to be looked at one by one."""
    if form in {"dynamic", "text"}:
        block = b"\n".join(values)
        return block + b"\n" if is_text(block) else None
    if form == "raw":
        return b"\n".join(values) + b"\n"
    return None


def template(text: str) -> Callable[[StoredRecord, str], bytes]:
    """Compile a `-F` template of {{key}}, {{value}}, {{offset}}, {{partition}}, {{time}}, and escapes as in C."""
    parts: list[str] = _PLACEHOLDER.split(text)
    fixed = [_ESCAPE.sub(lambda match: _ESCAPES[match[0]], part).encode() for part in parts[::2]]
    names = parts[1::2]

    def fill(record: StoredRecord, form: str) -> bytes:
        pieces = [fixed[0]]
        for name, following in zip(names, fixed[1:], strict=True):
            pieces += (_field(record, name, form), following)
        return b"".join(pieces)

    return fill


def _field(record: StoredRecord, name: str, form: str) -> bytes:
    if name == "value":
        return value_text(record.value, form)
    if name == "key":
        return b"null" if record.key is None else text_of(record.key).encode()
    if name == "time":
        return shown_time(record.timestamp).encode()
    return str(record.offset if name == "offset" else record.partition).encode()


def key_value(record: StoredRecord, form: str) -> bytes:
    """Return `[key] value`, as `-k` shows it."""
    key = b"null" if record.key is None else text_of(record.key).encode()
    return b"[" + key + b"] " + value_text(record.value, form)


def table_row(value: bytes) -> dict[str, str]:
    """Return the cells of a JSON object by column, or one cell `value` for everything else."""
    try:
        parsed = json.loads(value)
    except ValueError:
        return {"value": text_of(value)}
    if not isinstance(parsed, dict):
        return {"value": text_of(value)}
    return {
        str(name): cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
        for name, cell in parsed.items()
    }


class Table:
    """Lays out rows under the columns of the first; a column keeps the width that its first cells needed."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._widths: list[int] = []

    def lines(self, value: bytes) -> bytes:
        """Return the line of one record, with the header before the first."""
        row = table_row(value)
        header = b""
        if not self._columns:
            self._columns = list(row) or ["value"]
            self._widths = [max(len(name), len(row.get(name, ""))) for name in self._columns]
            header = self._line(self._columns) + b"\n"
        return header + self._line([row.get(name, "") for name in self._columns])

    def _line(self, cells: Sequence[str]) -> bytes:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)]
        return "  ".join(padded).rstrip().encode("utf-8", errors="replace")
