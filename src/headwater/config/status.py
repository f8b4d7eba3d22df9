"""Owns statuses and media types as people write them in several options. What they decide is said where they stand."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from headwater.config.fields import plain_text

_RANGE = re.compile(r"([1-9])xx|(\d{3})(?:\s*-\s*(\d{3}))?", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+*-]+")


def _ranges(value: object) -> tuple[tuple[int, int], ...]:
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    ranges = []
    for item in items:
        if isinstance(item, tuple):
            ranges.append((int(item[0]), int(item[1])))
            continue
        match = _RANGE.fullmatch(str(plain_text(item)).strip())
        if match is None:
            raise ValueError(f"{str(item)!r} is no status; write 404, 200-299 or 2xx")
        low = int(match[1] or 0) * 100 or int(match[2])
        high = low + 99 if match[1] else int(match[3] or low)
        if not 100 <= low <= high <= 599:
            raise ValueError(f"{str(item)!r} is no range of statuses between 100 and 599")
        ranges.append((low, high))
    return tuple(ranges)


def media_types(value: object) -> tuple[str, ...]:
    """Read one media type, several with commas between, or a list. Raises ValueError."""
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    types = tuple(str(item).strip().lower() for item in items)
    for item in types:
        if not _MEDIA_TYPE.fullmatch(item):
            raise ValueError(f"{item!r} is no media type; write application/json")
    return types


# Inclusive ranges of statuses: numbers, ranges, `4xx`.
Statuses = Annotated[
    tuple[tuple[int, int], ...],
    BeforeValidator(_ranges),
    WithJsonSchema({"type": ["array", "string", "integer"], "items": {"type": ["string", "integer"]}}),
]
MediaTypes = Annotated[
    tuple[str, ...],
    BeforeValidator(media_types),
    WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}}),
]
