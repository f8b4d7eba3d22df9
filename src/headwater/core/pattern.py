"""Owns regular expressions that people write: RE2's, which take linear time whatever text comes.

Does not say where one is looked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

# How large one may become once it is compiled (bytes); RE2's own bound is eight times as much.
_MOST_MEMORY = 1024 * 1024


class Pattern:
    """A compiled regular expression. Two are equal when their texts are. Raises ValueError with RE2's sentence."""

    __slots__ = ("_search", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._search = _compiled(text).search

    def found(self, text: bytes | str, end: int | None = None) -> bool:
        """Return whether it is found anywhere in a text, or in its first `end` bytes or characters."""
        return self._search(text, 0, end) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


@lru_cache(maxsize=1024)  # connectors of a fleet repeat theirs
def _compiled(text: str) -> Any:
    import re2  # noqa: PLC0415 - most configurations have none, and it takes long to load

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        return re2.compile(text, options=options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        sentence = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"{text!r} is no regular expression of RE2: {sentence}") from None
