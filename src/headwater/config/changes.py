"""Owns the options of `changes:`, which make a change log of a polled collection. Finding changes is the sources'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from headwater.config.fields import Options, plain_text
from headwater.core.pointer import Pointer, parse_pointer

Removed = Literal["event", "tombstone", "both", "ignore"]
# More known items than this do not vanish at once, unless it is said that they may.
BELIEVED = 100


def _pointers(value: object) -> tuple[Pointer, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    pointers = []
    for item in map(plain_text, given):
        if not isinstance(item, str | Pointer):
            raise ValueError("expected a pointer such as /id, or a list of them")
        pointer = parse_pointer(item) if isinstance(item, str) else item
        if not pointer.steps:
            raise ValueError(f"{item!r} means the whole item; name a member of it, such as /id")
        pointers.append(pointer)
    return tuple(pointers)


def _empty(value: object) -> int | None:
    value = plain_text(value)
    words = {"accept": None, "fail": 0}
    if isinstance(value, str) and value in words:
        return words[value]
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    raise ValueError("expected accept, fail, or how many items may vanish at once, such as 100")


def _show_empty(value: int | None) -> str | int:
    return {None: "accept", 0: "fail"}.get(value, value or 0)


_Pointers = Annotated[
    tuple[Pointer, ...],
    BeforeValidator(_pointers),
    PlainSerializer(lambda pointers: [str(pointer) for pointer in pointers], return_type=list[str]),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]


class ChangesOptions(Options):
    """What of a polled collection is appended: not the items each time, but what has changed of them."""

    key: _Pointers = Field(
        (),
        description="The pointer to what tells items apart, or a list of pointers. It may be left out where the answer "
        "is one item, or where items are no JSON: then each is its own key.",
        examples=["/id"],
    )
    emit: Literal["changes", "snapshot", "both"] = Field(
        "changes",
        description="changes: a record for each change. snapshot: the items of each poll, and what was removed. both: "
        "the items of each poll, and a record for each change.",
        examples=["both"],
    )
    form: Literal["event", "patch", "merge", "item"] = Field(
        "event",
        description="What tells of a change. event: an object with the item before and after. patch: one with a JSON "
        "Patch (RFC 6902). merge: one with a merge patch (RFC 7396). item: the item as it is now.",
        examples=["patch"],
    )
    before: bool = Field(
        True,
        description="Whether an event has the item as it was before. Without it, items are not kept, only that they "
        "are known.",
        examples=[False],
    )
    removed: Removed | None = Field(
        None,
        description="What tells that an item is gone. event: a record like those of changes. tombstone: one with the "
        "key and an empty value. both: one after the other. ignore: nothing, and it stays known - for answers that "
        "have only a part of the collection. Default: ignore where a cursor or a window asks for a part; else event, "
        "or tombstone where there are no events.",
        examples=["tombstone"],
    )
    removed_after: int = Field(
        1,
        ge=1,
        le=100,
        description="For how many rounds in a row an item must be missing to be gone. With pages by number or offset, "
        "items move from page to page while they are asked for, and one may be missed once.",
        examples=[2],
    )
    ignore: _Pointers = Field(
        (),
        description="Pointers to what does not count as a change, such as the time at which an item was served.",
        examples=[["/served_at"]],
    )
    empty: Annotated[
        int | None,
        BeforeValidator(_empty),
        PlainSerializer(_show_empty),
        WithJsonSchema({"anyOf": [{"enum": ["accept", "fail"]}, {"type": "integer", "minimum": 0}]}),
    ] = Field(
        BELIEVED,
        description="What an empty collection means while items are known. accept: they are gone. fail: the poll has "
        "failed, and they stay. A number: they are gone if they were no more than that.",
        examples=["accept"],
    )
    max_items: int = Field(
        10_000_000,
        ge=1,
        le=1_000_000_000,
        description="How many items are known at most. A collection with more fails; with removed: ignore those that "
        "have been known longest are forgotten.",
        examples=[100_000],
    )

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.form == "item" and self.removed in {"event", "both"}:
            raise ValueError(f"removed: {self.removed} needs events; with form: item write removed: tombstone")
        return self

    def tells_removed(self, *, partial: bool) -> Removed:
        """Return what tells that an item is gone; `partial`: answers have only a part of the collection."""
        if self.removed is not None:
            return self.removed
        if partial:
            return "ignore"
        return "tombstone" if self.form == "item" or self.emit == "snapshot" else "event"

    def keeps_values(self, removed: Removed) -> bool:
        """Return whether items are remembered whole, because something tells how they were."""
        if self.form in {"patch", "merge"}:
            return self.emit != "snapshot"
        return self.form == "event" and self.before and (self.emit != "snapshot" or removed in {"event", "both"})
