"""Owns the options of `pagination:`: how one page of an answer leads to the next.

Walking through the pages is `sources.pages`'.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from headwater.config.fields import Options, OrText, PointerOption, SlotOption, SpotOption, plain_text

Type = Literal["auto", "none", "link", "next-url", "cursor", "page", "offset"]
# Which options say something to which types; `max_pages`, `beyond` and `other_origins` do to all.
_OF_TYPES: Final[dict[str, tuple[Type, ...]]] = {
    "next": ("next-url", "cursor"),
    "last": ("cursor",),
    "param": ("cursor", "page", "offset", "auto"),
    "size": ("auto", "link", "next-url", "cursor", "page", "offset"),
    "size_param": ("auto", "link", "next-url", "cursor", "page", "offset"),
    "start": ("page", "offset"),
    "total": ("cursor", "page", "offset"),
    "pages": ("page",),
    "has_more": ("cursor", "page", "offset", "next-url"),
    "end": ("cursor", "page", "offset", "next-url"),
}
DEFAULT_PARAMS: Final[dict[str, str]] = {"page": "page", "offset": "offset"}


def _start(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value


class PaginationOptions(Options):
    """How the pages of a round follow each other. `type` alone is written as `pagination: link`."""

    type: Type = Field(
        "auto",
        description="auto looks at the first answer. link: the Link header (RFC 8288). next-url: a URL in the body. "
        "cursor: a token, or a value of the last item. page and offset: numbers. none: one answer is all.",
        examples=["link"],
    )
    next: SpotOption | None = Field(
        None,
        description="Where the next URL or the next token is: a pointer into the body, or `header:NAME`.",
        examples=["/paging/next"],
    )
    last: PointerOption | None = Field(
        None, description="Of type cursor: what of the last item the next page begins after.", examples=["/id"]
    )
    param: SlotOption | None = Field(
        None,
        description="Where the token, the number or the offset goes: a query parameter, `body:/pointer` or "
        "`header:NAME`. Default: page, offset; none where the request has ${{ page.token }} and the like.",
        examples=["starting_after"],
    )
    size: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="How many items a page has; a shorter one is the last. See also total and has_more.",
        examples=[100],
    )
    size_param: SlotOption | None = Field(None, description="Where the size goes, as for `param`.", examples=["limit"])
    start: Annotated[int | None, BeforeValidator(_start), WithJsonSchema({"type": "integer"})] = Field(
        None, ge=0, description="The first page's number or offset. Default: 1, or 0 of offsets.", examples=[0]
    )
    total: SpotOption | None = Field(
        None, description="Where the number of all items is: a pointer, or `header:NAME`.", examples=["/total"]
    )
    pages: SpotOption | None = Field(
        None, description="Of type page: where the number of all pages is.", examples=["/total_pages"]
    )
    has_more: SpotOption | None = Field(
        None, description="Where it says whether more pages follow.", examples=["/has_more"]
    )
    end: SpotOption | None = Field(
        None, description="Where it says that no page follows: the opposite of has_more.", examples=["/end_of_stream"]
    )
    max_pages: int = Field(
        1000, ge=1, le=1_000_000, description="How many pages are asked for at one scheduled time.", examples=[10]
    )
    beyond: Literal["continue", "ignore"] = Field(
        "continue",
        description="What becomes of pages beyond max_pages: the next scheduled time goes on with them, or they are "
        "left alone.",
        examples=["ignore"],
    )
    stop_at: str | None = Field(
        None,
        description="The name of a cursor: a list with the newest items first ends with the page on which an item is "
        "not beyond it.",
        examples=["updated"],
    )
    other_origins: Literal["refuse", "without-credentials"] = Field(
        "refuse",
        description="What becomes of a next URL of another scheme, host or port.",
        examples=["without-credentials"],
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, types in _OF_TYPES.items():
            if name in self.model_fields_set and getattr(self, name) is not None and self.type not in types:
                said = types[0] if len(types) == 1 else f"{', '.join(types[:-1])} and {types[-1]}"
                raise ValueError(f"{name} says nothing to type: {self.type}; it is for {said}")
        if self.type == "next-url" and self.next is None:
            raise ValueError("type: next-url needs `next`, where the URL is, such as next: /paging/next")
        if self.type == "cursor":
            self._check_cursor()
        if self.size_param is not None and self.size is None:
            raise ValueError("size_param says where the size goes, but there is no size")
        if self.stop_at is not None and self.type == "none":
            raise ValueError("stop_at says nothing to type: none")
        return self

    def _check_cursor(self) -> None:
        if self.next is None and self.last is None:
            raise ValueError(
                "type: cursor needs `next`, where the next token is, or `last`, what of the last item comes after"
            )
        if self.next is not None and self.last is not None:
            raise ValueError("name either next, a token of the answer, or last, a value of its last item")


def _pagination(value: object) -> object:
    """Read a word as the type."""
    value = plain_text(value)
    return {"type": value} if isinstance(value, str) else value


Pagination = Annotated[PaginationOptions | None, BeforeValidator(_pagination), OrText()]
