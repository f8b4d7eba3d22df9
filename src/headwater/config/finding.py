"""Owns what does not fit between groups of options, before it has its place in a file. Finding it is others' work."""

from __future__ import annotations

import msgspec

Path = tuple[str | int, ...]


class Finding(msgspec.Struct, frozen=True):
    """Something that does not fit: the way to it below the options, a sentence, what to do, and whether it can stay."""

    path: Path
    message: str
    suggestion: str = ""
    warning: bool = False
