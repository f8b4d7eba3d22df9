"""Owns the body that is one item. Nothing is cut."""

from __future__ import annotations

from headwater.sources.split.item import Bad, BrokenBodyError, Item, Large, json_item


class WholeSplitter:
    """Gathers a body as one item, whatever its bytes; with `json` it has to be that. A body without a byte is none."""

    what = "body"
    missing = False

    def __init__(self, max_item: int, *, json: bool, legacy: str = "") -> None:
        self.rest: bytes | None = None
        self._most = max_item
        self._json = json
        self._legacy = legacy
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
            item = json_item(body.removeprefix(b"\xef\xbb\xbf"), self._legacy)
            if isinstance(item, Bad):
                raise BrokenBodyError(f"the body: {item.reason}")
            if isinstance(item, bytes):
                self.rest = item
            return [item]
        return [body]
