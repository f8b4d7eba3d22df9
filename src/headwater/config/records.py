"""Owns the options of `records:`: what of an answer becomes records. Cutting and making them is `sources`'."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from headwater.config.delimiter import Delimiter
from headwater.config.fields import Listed, Options, PointerOption, Size, plain_text
from headwater.core.charset import text_codec
from headwater.core.selector import Selector, parse_selector

TIMES = ("auto", "iso", "http", "s", "ms", "us", "ns")
# Which formats an option is for, where it is not for all.
_FOR: dict[str, tuple[str, ...]] = {
    "split": ("json",),
    "split_required": ("json",),
    "delimiter": ("csv", "delimited"),
    "element": ("xml",),
    "as_json": ("xml",),
    "quote": ("csv",),
    "header": ("csv",),
    "columns": ("csv",),
    "numbers": ("csv",),
    **dict.fromkeys(("key", "timestamp"), ("json", "ndjson", "json-seq", "csv", "xml")),
}
_NEEDS = {
    "split_required": "split",
    "key_required": "key",
    "timestamp_format": "timestamp",
    "timestamp_zone": "timestamp",
    "metadata_headers": "metadata",
}


def _quote(value: object) -> object:
    value = plain_text(value)
    return "" if value in {"none", False} else value


def _selector(value: object) -> object:
    value = plain_text(value)
    return parse_selector(value) if isinstance(value, str) else value


def _shown(selector: Selector) -> str:
    return ("/" if selector.rooted else "") + "/".join(selector.steps)


class RecordsOptions(Options):
    """What of an answer becomes records: how it is cut into items, their keys and times, and what goes with them."""

    split: PointerOption | None = Field(
        None,
        description="The JSON array whose elements are the items, each with its own bytes: a pointer, or `/` where the "
        "body is the array. Default: the body is one item.",
        examples=["/data/items"],
    )
    split_required: bool = Field(
        False,
        description="Let an answer without that array fail, instead of having no items.",
        examples=[True],
    )
    format: Literal["json", "ndjson", "json-seq", "csv", "xml", "delimited", "text"] = Field(
        "json",
        description="What the body is. json: one document. ndjson: a JSON text in each line. json-seq: one behind each "
        "RS. csv: a table whose rows become JSON objects. xml: a document, cut by `element`. delimited: any bytes, cut "
        "at `delimiter`. text: any bytes, one item.",
        examples=["ndjson"],
    )
    delimiter: Delimiter | None = Field(
        None,
        description="What stands between the fields of a csv row (default `,`), or between delimited items (default "
        "`\\n`); `\\t`, `\\0` and `\\x1e` may be written so.",
        examples=[";"],
    )
    element: Annotated[
        Selector | None,
        BeforeValidator(_selector),
        PlainSerializer(lambda it: None if it is None else _shown(it), return_type=str | None),
        WithJsonSchema({"type": "string"}),
    ] = Field(
        None,
        description="The elements of XML that are the items: a name, a path, or `/` and the path from the root. A name "
        "without a prefix is that element in any namespace; `{namespace}name` is exact.",
        examples=["/rss/channel/item"],
    )
    as_json: bool = Field(
        False,
        description="Make each element of XML a JSON object, with `@attribute`s and `#text`, instead of its own bytes.",
        examples=[True],
    )
    header: bool = Field(
        True, description="Whether the first row of a csv has the names of its columns.", examples=[False]
    )
    columns: Listed = Field(
        (),
        description="Names for the columns of a csv, instead of those of its header. Without any names a row is an "
        "array.",
        examples=[["id", "name"]],
    )
    quote: Annotated[str, BeforeValidator(_quote), WithJsonSchema({"type": ["string", "boolean"]})] = Field(
        '"', description="What quotes fields of a csv; `none` for nothing.", examples=["'"]
    )
    numbers: bool = Field(
        False,
        description="Let fields of a csv that are written like numbers of JSON be numbers, with their digits.",
        examples=[True],
    )
    charset: str | None = Field(
        None,
        description="What the body is encoded in. Default: what it says itself, what its Content-Type says, UTF-8.",
        examples=["windows-1252"],
    )
    key: PointerOption | None = Field(
        None,
        description="Where in an item the key of its record is: a text, a number, true or false.",
        examples=["/id"],
    )
    key_required: bool = Field(False, description="Let an item without its key be a bad one.", examples=[True])
    timestamp: PointerOption | None = Field(
        None,
        description="Where in an item the time of its record is. Without one it gets the time of the append.",
        examples=["/updated_at"],
    )
    timestamp_format: str = Field(
        "auto",
        description="How times are written. auto: ISO 8601, as in HTTP and mail, or a Unix time whose size tells "
        "seconds, ms, us or ns. iso, http, s, ms, us, ns: only that. Else a format of strptime.",
        examples=["%d.%m.%Y %H:%M"],
    )
    timestamp_zone: str = Field("UTC", description="The time zone of times that name none.", examples=["Europe/Berlin"])
    metadata: bool = Field(
        False,
        description='Wrap each item: `{"meta":{...},"record":ITEM}`, with the URL, the status, the time, the page '
        "and the number of the item.",
        examples=[True],
    )
    metadata_headers: Listed = Field(
        (), description="Headers of the answer that go into the metadata.", examples=[["etag", "x-request-id"]]
    )
    max_item: Size = Field(
        16 * 1024 * 1024, ge=1, description="The largest item; a larger one is a bad one.", examples=["1 MiB"]
    )
    buffer: Size = Field(
        8 * 1024 * 1024,
        ge=65_536,
        description="Bodies up to this size are held; a larger one is cut while it arrives.",
        examples=["64 MiB"],
    )

    @property
    def are_json(self) -> bool:
        """Whether items are JSON, or have a form that is."""
        return self.format not in {"delimited", "text"}

    @field_validator("charset")
    @classmethod
    def _check_charset(cls, value: str | None) -> str | None:
        if value is None:
            return None
        codec = text_codec(value)
        if codec is None:
            raise ValueError(f"{value!r} is no charset; write such as utf-8, windows-1252 or iso-8859-1")
        return codec

    @field_validator("timestamp_format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        if value not in TIMES and "%" not in value:
            raise ValueError(f"{value!r} is no format of times; write {', '.join(TIMES)}, or such as %d.%m.%Y")
        return value

    @field_validator("timestamp_zone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write a name such as Europe/Berlin") from None
        return value

    @field_validator("metadata_headers")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name, formats in _FOR.items():
            if self.format not in formats and given.get(name) not in {None, False, ()}:
                kinds = " or ".join(formats) if len(formats) < 4 else "anything but delimited and text"
                raise ValueError(f"{name} is for format: {kinds}, and this is {self.format}")
        for name, needed in _NEEDS.items():
            if given.get(name) not in {None, False, ()} and not getattr(self, needed):
                raise ValueError(f"{name} says more about {needed}, which is missing")
        if self.format == "xml" and self.element is None:
            raise ValueError("format: xml needs an element, such as element: item")
        if self.format == "csv":
            self._check_table()
        return self

    def _check_table(self) -> None:
        if self.delimiter is not None and (
            len(self.delimiter) != 1 or self.delimiter in '"\r\n' or self.delimiter >= "\udc80"
        ):
            raise ValueError(f"the delimiter of a csv is one character, not {self.delimiter!r}")
        if len(self.quote) > 1 or self.quote in {"\r", "\n", " "} or self.quote == (self.delimiter or ","):
            raise ValueError(f"the quote of a csv is one character beside the delimiter, or none, not {self.quote!r}")
        if any(not name.strip() for name in self.columns):
            raise ValueError("a column has no name")
