"""Owns what a replay is expected to come to: lines of JSON, for records and exchanges, and how others differ."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headwater.core.exchange import Exchange
from headwater.core.record import StoredRecord

_MOST_SHOWN = 200


def record_line(topic: str, record: StoredRecord, *, timed: bool) -> str:
    """Return the line of a record: its topic, key and value, and with `timed` its time."""
    line: dict[str, Any] = {"topic": topic, "key": None if record.key is None else _text(record.key)}
    if timed:
        line["timestamp"] = record.timestamp
    try:
        # Numbers keep their digits.
        line["value"] = msgspec.Raw(_compact(record.value))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        line["text"] = _text(record.value)
    return msgspec.json.encode(line).decode()


def exchange_line(exchange: Exchange) -> str:
    """Return the line of an exchange: what was decided about it."""
    line: dict[str, Any] = {"exchange": exchange.decision.value}
    if exchange.status is not None:
        line["status"] = exchange.status
    if exchange.records:
        line["records"] = exchange.records
    if exchange.rejected:
        line["rejected"] = exchange.rejected
    if exchange.attempts > 1:
        line["attempts"] = exchange.attempts
    return msgspec.json.encode(line).decode()


def _compact(value: bytes) -> bytes:
    msgspec.json.decode(value, type=msgspec.Raw)
    return msgspec.json.format(value, indent=-1)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(data).decode()}"


def difference(expected: Sequence[str], found: Sequence[str], name: str) -> list[str]:
    """Return how what was found differs, as a unified diff; nothing when it does not."""
    lines = list(difflib.unified_diff(expected, found, name, "this replay", lineterm="", n=2))
    if len(lines) > _MOST_SHOWN:
        return [*lines[:_MOST_SHOWN], f"... ({len(lines) - _MOST_SHOWN} more lines)"]
    return lines


def read_expectation(text: str) -> list[str]:
    """Return the lines of an expectation; comments and empty ones are left out, and spelling does not matter."""
    return [_normal(line) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _normal(line: str) -> str:
    try:
        return msgspec.json.format(line.strip(), indent=-1)
    except msgspec.DecodeError:
        return line


def write_expectation(lines: Iterable[str]) -> str:
    """Return the text of an expectation."""
    head = (
        "# What a replay comes to, a line each; made by `headwater test --replay FILE --expect THIS --update CONFIG`."
    )
    return "\n".join([head, *lines]) + "\n"
