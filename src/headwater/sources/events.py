"""Owns the records that tell of changes: their bytes, from those of the items. Finds no changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from headwater.config.changes import ChangesOptions, Removed
from headwater.core.record import Record
from headwater.sources.canonical import BROKEN, decode, encode
from headwater.sources.identity import Identity
from headwater.sources.patch import json_patch, merge_patch


class Teller:
    """Makes the records of changes as the options say. `at` is the time of the exchange, ms since the Unix epoch."""

    __slots__ = ("_before", "_event", "_form", "_removed", "_tombstone")

    def __init__(self, options: ChangesOptions, removed: Removed) -> None:
        self._form = options.form
        self._before = options.before
        self._event = removed in {"event", "both"}
        self._tombstone = removed in {"tombstone", "both"}

    def added(self, item: Identity, after: bytes | Raw, at: int, timestamp: int | None) -> Record:
        """Tell that an item is there that was not known."""
        if self._form == "item":
            return Record(bytes(after), item.key, timestamp)
        return Record(b'{"op":"added","key":%b,"after":%b,"at":%d}' % (item.json, after, at), item.key, timestamp)

    def changed(
        self, item: Identity, before: bytes | None, after: bytes | Raw, at: int, timestamp: int | None
    ) -> Record:
        """Tell that an item is another one than `before`; None where it is not known how it was."""
        if self._form == "item":
            return Record(bytes(after), item.key, timestamp)
        if self._form == "event":
            was = b"" if before is None or not self._before else b'"before":%b,' % before
            told = b'%b"after":%b' % (was, after)
        else:
            told = self._difference(before, after)
        return Record(b'{"op":"changed","key":%b,%b,"at":%d}' % (item.json, told, at), item.key, timestamp)

    def _difference(self, before: bytes | None, after: bytes | Raw) -> bytes:
        """Return the patch from one to the other as a member; the item itself where there is none, or a longer one."""
        whole = b'"after":%b' % after
        if before is None:
            return whole
        try:
            was, now = decode(before), decode(after)
            if self._form == "patch":
                told = b'"patch":%b' % encode(json_patch(was, now))
            else:
                patch = merge_patch(was, now)
                told = whole if patch is msgspec.UNSET else b'"merge":%b' % encode(patch)
        except BROKEN:
            return whole
        return told if len(told) < len(whole) else whole

    def removed(self, item: Identity, before: bytes | None, at: int) -> Iterator[Record]:
        """Tell that an item is gone."""
        if self._event:
            was = b',"before":%b' % before if before is not None and self._form == "event" and self._before else b""
            yield Record(b'{"op":"removed","key":%b%b,"at":%d}' % (item.json, was, at), item.key)
        if self._tombstone:
            yield Record(b"", item.key)
