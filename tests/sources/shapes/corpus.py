"""Loads the shapes of real answers in this directory; README.md says what stands in them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from headwater.core.http import Response

FOLDER = Path(__file__).parent


class Item(msgspec.Struct, frozen=True):
    """What a record of a page is to have."""

    key: str | None
    timestamp: str | None

    @property
    def time_ms(self) -> int | None:
        """The time in ms since the Unix epoch."""
        if self.timestamp is None:
            return None
        return round(datetime.fromisoformat(self.timestamp).timestamp() * 1000)


class Page(msgspec.Struct, frozen=True):
    """What one answer comes to."""

    items: list[Item]
    next: dict[str, Any] | None


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one API answers, and what is to be made of it."""

    about: str
    http: dict[str, Any]
    records: dict[str, Any]
    pagination: dict[str, Any]
    quota: dict[str, str]
    pages: list[Page]
    note: str = ""
    name: str = ""

    @property
    def responses(self) -> list[Response]:
        """The answers, in the order of the pages."""
        return [
            answer(FOLDER / self.name / f"page-{number}.http", self.url) for number in range(1, len(self.pages) + 1)
        ]

    @property
    def url(self) -> str:
        """Where the first page was asked for."""
        return str(self.http["endpoint"])


def answer(path: Path, url: str) -> Response:
    """Read one .http file."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    status, *lines = head.decode().split("\n")
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    version, code, _ = status.split(" ", 2)
    return Response(int(code), version, headers, body, url, elapsed=0.01, received=len(body))


def _load(path: Path) -> Shape:
    shape = msgspec.json.decode((path / "expected.json").read_bytes(), type=Shape)
    return msgspec.structs.replace(shape, name=path.name)


SHAPES = [_load(path.parent) for path in sorted(FOLDER.glob("*/expected.json"))]
