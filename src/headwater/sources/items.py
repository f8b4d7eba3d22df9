"""Owns what of an answer becomes records: which splitter cuts it, and the key, the time and the value of each item.

Cutting is `split`'s; when it is done, and what is stored with it, is `reaping`'s.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, cast

import msgspec
from msgspec import Raw

from headwater.config import RecordsOptions
from headwater.config.delimiter import delimiter_bytes
from headwater.core.extract import Extractor, extract
from headwater.core.http import Response
from headwater.core.instant import Instant
from headwater.core.pointer import Pointer, scalar_bytes
from headwater.core.record import Record
from headwater.sources.output import named_charset
from headwater.sources.reaped import BadItem
from headwater.sources.split.array import ArraySplitter
from headwater.sources.split.charset import Transcoding, is_utf8, keeps_structure
from headwater.sources.split.item import PREVIEW, Bad, BrokenBodyError, Formed, Item, Splitter, all_plain
from headwater.sources.split.lines import DelimitedSplitter, JsonLinesSplitter
from headwater.sources.split.markup import MarkupSplitter, declared_charset
from headwater.sources.split.table import Layout, TableSplitter
from headwater.sources.split.whole import WholeSplitter
from headwater.sources.times import reader

# So many items of one body are told of one by one; a body with more is no such body.
MOST_BAD = 10_000
_TEXT = Pointer(("#text",))
_JSON = msgspec.json.Encoder()
_DIGITS = frozenset(b"0123456789")
_JSON_TEXTS = frozenset({"json", "ndjson", "json-seq"})
_ARE_JSON = _JSON_TEXTS | {"csv"}
_NO_JSON = frozenset({"delimited", "text"})


class About(msgspec.Struct, frozen=True):
    """What the metadata of a record says of its answer: `url` as it may be shown, `fetched` in ms since the epoch."""

    url: str
    status: int
    fetched: int
    page: int = 1
    headers: dict[str, str] = {}


class Batch(msgspec.Struct, gc=False):
    """Good items in their order, with what was taken out of each, and those that are none.

    `documents` are what pointers lead into, `values` what is at the further pointers. `envelope` puts an item that is
    the so-manieth of all into its metadata.
    """

    items: Sequence[bytes | Raw]
    documents: Sequence[bytes | Raw]
    keys: list[bytes | None]
    times: list[int | None]
    values: list[tuple[Raw | None, ...]]
    bad: list[BadItem]
    numbers: Sequence[int] = ()
    envelope: Callable[[bytes | Raw, int], bytes] | None = None

    def record(self, place: int) -> Record:
        """Return the record of one of the items."""
        item = self.items[place]
        value = bytes(item) if self.envelope is None else self.envelope(item, self.numbers[place])
        return Record(value, self.keys[place], self.times[place])

    def records(self) -> list[Record]:
        """Return the records of all of them."""
        if self.envelope is not None:
            return [self.record(place) for place in range(len(self.items))]
        return [*map(Record, map(bytes, self.items), self.keys, self.times)]


class Items:
    """What the options say about items, made once.

    `further` are pointers whose values are wanted beside. With `formed` elements of XML are given as JSON as well.
    """

    __slots__ = ("_extract", "_formed", "_key", "_layout", "_options", "_own", "_time")

    def __init__(self, options: RecordsOptions, further: tuple[Pointer, ...] = (), *, formed: bool = False) -> None:
        self._options = options
        self._key = options.key is not None
        self._time = None if options.timestamp is None else reader(options.timestamp_format, options.timestamp_zone)
        own = [pointer for pointer in (options.key, options.timestamp) if pointer is not None]
        self._own = len(own)
        pointers = (*own, *further)
        # What is no JSON has nothing that a pointer could lead to.
        self._extract = Extractor(pointers) if pointers and options.format not in _NO_JSON else None
        self._formed = formed or self._extract is not None
        self._layout = Layout(
            options.delimiter or ",", options.quote or None, options.header, options.columns, options.numbers
        )

    def splitter(self, response: Response) -> Splitter:
        """Return what cuts the body of a response, whose head alone is looked at."""
        options, form = self._options, self._options.format
        codec = options.charset or named_charset(response) or ""
        # JSON is UTF-8 (RFC 8259), whatever a Content-Type says; only what is not is what it says.
        legacy = codec if not is_utf8(codec) and keeps_structure(codec) else ""
        splitter = self._splitter(legacy)
        if form in _JSON_TEXTS:
            return Transcoding(splitter, lambda _: "" if legacy else codec)
        if form == "xml":
            # The Content-Type says more than the document itself (RFC 7303).
            return Transcoding(splitter, lambda head: codec or declared_charset(head), 256)
        if form == "csv" or not is_utf8(codec):
            return Transcoding(splitter, lambda _: codec)
        return splitter

    def _splitter(self, legacy: str) -> Splitter:
        options = self._options
        most, form = options.max_item, options.format
        if form == "json" and options.split is not None:
            return ArraySplitter(options.split, most, legacy=legacy)
        if form in {"json", "text"}:
            return WholeSplitter(most, json=form == "json", legacy=legacy)
        if form in {"ndjson", "json-seq"}:
            return JsonLinesSplitter(most, sequence=form == "json-seq", legacy=legacy)
        if form == "csv":
            return TableSplitter(self._layout, most)
        if form == "xml":
            assert options.element is not None
            return MarkupSplitter(options.element, most, form=self._formed, as_json=options.as_json)
        return DelimitedSplitter(delimiter_bytes(options.delimiter or "\n"), most)

    @property
    def buffer(self) -> int:
        """How much of a body is held (bytes)."""
        return self._options.buffer

    @property
    def required(self) -> bool:
        """Whether an answer without its array is to fail."""
        return self._options.split_required

    @property
    def where(self) -> str:
        """Where the items are, in words."""
        return f"array at {self._options.split}" if self._options.split and self._options.split.steps else "array"

    def making(self, about: About, first: int = 0, *, endless: bool = False) -> Making:
        """Return what makes records of the items of one body, of which so many are made already.

        In one that is `endless` there may be any number of bad ones.
        """
        return Making(self, self._envelope(about) if self._options.metadata else None, first, endless=endless)

    def array(self) -> ArraySplitter | None:
        """Return what cuts one more document that holds an array of items; None where each is one item."""
        options = self._options
        return None if options.split is None else ArraySplitter(options.split, options.max_item)

    def read(self, items: Sequence[Item], first: int, what: str) -> Batch:
        """Take out of items what is wanted; `first` is the number of the first among all of its body, from 0."""
        found = self._quick(items, first)
        if found is not None:
            return found
        batch = Batch([], [], [], [], [], [], numbers := [])
        documents = batch.documents = []
        good = batch.items = []
        for number, item in enumerate(items, first):
            place = f"{what} {number + 1}" if what != "body" else what
            if isinstance(item, Bad):
                batch.bad.append(
                    BadItem(item.place or place, item.reason, item.data, item.slug, item.size, item.digest)
                )
                continue
            value, document = (item.value, item.form) if isinstance(item, Formed) else (item, item)
            try:
                key, time, values = self._taken(document)
            except ValueError as error:
                batch.bad.append(BadItem(place, str(error), bytes(memoryview(value)[:PREVIEW]), **_whole(value)))
                continue
            good.append(value)
            documents.append(document)
            batch.keys.append(key)
            batch.times.append(time)
            batch.values.append(values)
            numbers.append(number)
        return batch

    def _quick(self, items: Sequence[Item], first: int) -> Batch | None:
        """Do what `read` does where nothing is special: items that are JSON, all good, with what they should have."""
        count = len(items)
        if not count or not all_plain(items):
            return None
        plain = cast("Sequence[bytes | Raw]", items)
        keys: list[bytes | None] = [None] * count
        times: list[int | None] = [None] * count
        values: list[tuple[Raw | None, ...]] = [()] * count
        if self._extract is not None:
            try:
                columns = self._extract.columns(plain)
                if self._key:
                    keys = [*map(_key, columns[0])]
                if self._time is not None:
                    read = self._time
                    times = [None if raw is None else read(bytes(raw)) for raw in columns[self._own - 1]]
            except ValueError:
                return None
            if self._options.key_required and None in keys:
                return None
            if len(columns) > self._own:
                values = [*zip(*columns[self._own :], strict=True)]
        return Batch(plain, plain, keys, times, values, [], range(first, first + count))

    def _taken(self, document: bytes | Raw) -> tuple[bytes | None, int | None, tuple[Raw | None, ...]]:
        """Return the key, the time and the further values of one item. Raises ValueError."""
        if self._extract is None:
            return None, None, ()
        values = self._extract(document)
        key = time = None
        if self._key:
            raw = self._scalar(values[0])
            try:
                key = None if raw is None else scalar_bytes(raw)
            except ValueError as error:
                raise ValueError(f"its key at {self._options.key}: {error}") from None
            if key is None and self._options.key_required:
                raise ValueError(f"it has no key at {self._options.key}")
        if self._time is not None:
            raw = self._scalar(values[self._own - 1])
            try:
                time = None if raw is None else self._time(raw)
            except ValueError as error:
                raise ValueError(f"its time at {self._options.timestamp}: {error}") from None
        return key, time, values[self._own :]

    def _scalar(self, raw: Raw | None) -> bytes | None:
        """Return a value as bytes; of an element of XML with attributes its text."""
        if raw is None:
            return None
        data = bytes(raw)
        if data[:1] == b"{" and self._options.format == "xml":
            text = extract(_TEXT, data)
            return data if text is None else bytes(text)
        return data

    def _envelope(self, about: About) -> Callable[[bytes | Raw, int], bytes]:
        """Return what puts an item into its metadata."""
        meta: dict[str, Any] = {
            "url": about.url,
            "status": about.status,
            "fetched": Instant(about.fetched * 1_000_000, digits=3).text,
            "page": about.page,
        }
        wanted = {name: about.headers[name] for name in self._options.metadata_headers if name in about.headers}
        if wanted:
            meta["headers"] = wanted
        head = b'{"meta":%b,"item":' % _JSON.encode(meta)[:-1]
        is_json = self._options.format in _ARE_JSON or self._options.as_json

        def envelope(item: bytes | Raw, number: int) -> bytes:
            return b'%b%d},"record":%b}' % (head, number, bytes(item) if is_json else _as_text(bytes(item)))

        return envelope


def _key(raw: Raw | None) -> bytes | None:
    """Return the key that a raw value is. Raises ValueError."""
    if raw is None:
        return None
    data = bytes(raw)
    return data if data[0] in _DIGITS else scalar_bytes(data)


def _whole(value: bytes | Raw) -> dict[str, Any]:
    """Return the size and the digest of an item that is longer than what is shown of it."""
    if len(value) <= PREVIEW:
        return {}
    return {"size": len(value), "digest": sha256(value).hexdigest()}


def _as_text(data: bytes) -> bytes:
    """Return bytes as a JSON text, or as `{"base64": ...}` where they are none."""
    try:
        return _JSON.encode(data.decode())
    except UnicodeDecodeError:
        return _JSON.encode({"base64": base64.b64encode(data).decode()})


class Making:
    """Makes records of the items of one body, in as many pieces as they come in."""

    __slots__ = ("_bad", "_count", "_endless", "_envelope", "_items")

    def __init__(
        self,
        items: Items,
        envelope: Callable[[bytes | Raw, int], bytes] | None,
        first: int = 0,
        *,
        endless: bool = False,
    ) -> None:
        self._items = items
        self._envelope = envelope
        self._count = first
        self._endless = endless
        self._bad = 0

    def take(self, items: Sequence[Item], what: str) -> Batch:
        """Take the next items; `what` is what one is called. Raises BrokenBodyError when too many of them are bad."""
        batch = self._items.read(items, self._count, what)
        batch.envelope = self._envelope
        self._count += len(items)
        self._bad += len(batch.bad)
        if self._bad > MOST_BAD and not self._endless:
            raise BrokenBodyError(f"more than {MOST_BAD:,} items are bad; the last: {batch.bad[-1].reason}")
        return batch
