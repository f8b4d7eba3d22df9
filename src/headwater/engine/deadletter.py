"""Owns what bad items and rejected records become in the dead-letter topic, and the words for them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headwater.core.record import Record
from headwater.sources.reaped import BadItem
from headwater.transforms.chain import UNKNOWN, Rejection

# A reason is a module's text, and may be of any length (characters).
_LONGEST_REASON = 2000
_LONGEST_TOLD = 200


def dead_letter(
    rejection: Rejection,
    given: Sequence[Record],
    *,
    connector: str,
    topic: str,
    now_ms: int,
    mask: Callable[[str], str],
) -> Record:
    """Return the dead letter of a rejection: JSON with the reason, the stage and the original bytes, under its key.

    `given` are the records that the chain was given. The original is the one of them that the rejected record came
    from, or the rejected record itself where a transform made it of several; `entered` is it as it came to the stage,
    when a transform had changed it.
    """
    original = rejection.record if rejection.origin == UNKNOWN else given[rejection.origin]
    letter: dict[str, Any] = {
        "connector": connector,
        "topic": topic,
        "time": now_ms,
        "stage": rejection.stage,
        "module": mask(rejection.name),
        "error": rejection.slug.removeprefix("transform-"),
        "reason": mask(rejection.reason)[:_LONGEST_REASON],
        "record": _readable(original),
    }
    if (original.value, original.key) != (rejection.record.value, rejection.record.key):
        letter["entered"] = _readable(rejection.record)
    return Record(msgspec.json.encode(letter), original.key)


def bad_letter(item: BadItem, *, connector: str, topic: str, now_ms: int, mask: Callable[[str], str]) -> Record:
    """Return the dead letter of an item that is no record, in the same form: stage 0, with where it stood.

    Of an item that is too long to be shown whole there are its size in bytes and its SHA-256 as well.
    """
    letter: dict[str, Any] = {
        "connector": connector,
        "topic": topic,
        "time": now_ms,
        "stage": 0,
        "module": "records",
        "error": item.slug,
        "reason": mask(item.reason[:_LONGEST_REASON]),
        "record": {"key": None, "value": _text(item.data)},
        "position": item.position,
    }
    if item.size is not None:
        letter |= {"size": item.size, "sha256": item.digest}
    return Record(msgspec.json.encode(letter))


def _readable(record: Record) -> dict[str, Any]:
    return {"key": None if record.key is None else _text(record.key), "value": _text(record.value)}


def _text(data: bytes) -> str | dict[str, str]:
    """Return bytes as a text when they are one, else as `{"base64": ...}`: no byte may be lost."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def told(rejections: Sequence[Rejection], *, whither: str, mask: Callable[[str], str]) -> str:
    """Return the sentence about rejections for the ledger: `2 records to cats-dead-letter: stage 1 (x): why`."""
    first = rejections[0]
    count = f"{len(rejections)} record{'s' if len(rejections) != 1 else ''}"
    return f"{count} {whither}: stage {first.stage} ({mask(first.name)}): {_short(first.reason, mask)}"


def told_bad(bad: Sequence[BadItem], *, whither: str, mask: Callable[[str], str]) -> str:
    """Return the sentence about bad items for the ledger: `2 bad items to cats-dead-letter: item 3: why`."""
    first = bad[0]
    count = f"{len(bad)} bad item{'s' if len(bad) != 1 else ''}"
    return f"{count} {whither}: {first.position}: {_short(first.reason, mask)}"


def _short(reason: str, mask: Callable[[str], str]) -> str:
    # Masked before it is cut: half a secret is not known as one.
    masked = mask(reason)
    return masked if len(masked) <= _LONGEST_TOLD else f"{masked[:_LONGEST_TOLD]}..."
