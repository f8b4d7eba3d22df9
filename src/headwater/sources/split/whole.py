"""Owns the body that is one item. Nothing is cut."""

from __future__ import annotations

from headwater.core.extract import DocumentError, checked
from headwater.sources.split.item import BrokenBodyError, Item, Large


class WholeSplitter:
    """Gathers a body as one item, whatever its bytes; with `json` it has to be JSON. A body without a byte is none."""

    what = "body"

    def __init__(self, max_item: int, *, json: bool) -> None:
        self.rest: bytes | None = None
        self._most = max_item
        self._json = json
        self._chunks: list[bytes] = []
        self._size = 0
        self._large: Large | None = None

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body."""
        self._size += len(chunk)
        if self._large is None and self._size > self._most:
            self._large = Large(self._most)
            for one in self._chunks:
                self._large.add(one)
            self._chunks.clear()
        if self._large is None:
            self._chunks.append(chunk)
        else:
            self._large.add(chunk)
        return []

    def finish(self) -> list[Item]:
        """Take the end of the body; return it. Raises BrokenBodyError."""
        if self._large is not None:
            return [self._large.end()]
        body = b"".join(self._chunks)
        if not body:
            return []
        if self._json:
            text = body.removeprefix(b"\xef\xbb\xbf")
            try:
                checked(text)
            except DocumentError as error:
                raise BrokenBodyError(f"the body: {error}") from None
            self.rest = text
            return [text]
        return [body]
