"""Owns random messages: a Hypothesis strategy for any type that has an encoding."""

from __future__ import annotations

import types
import typing
from datetime import timedelta
from enum import IntEnum
from typing import Annotated, Any

from hypothesis import strategies as st

from headwater.fluvio.errorcode import NAMES, ErrorCode, TransformFailure, _hints
from headwater.fluvio.wire import Message, Number, Since, Until

_BOUNDS = {"b": 8, "h": 16, "i": 32, "q": 64}


def messages(hint: Any, version: int) -> st.SearchStrategy[Any]:
    """Return values of a type as they are in a version: fields that it does not have are at their defaults."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        form = next((mark.form for mark in arguments[1:] if isinstance(mark, Number)), None)
        return messages(arguments[0], version) if form is None else _numbers(form)
    if origin in {types.UnionType, typing.Union}:
        return st.one_of(*(st.none() if it is type(None) else messages(it, version) for it in arguments))
    if origin is tuple:
        return st.lists(messages(arguments[0], version), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(messages(arguments[0], version), messages(arguments[1], version), max_size=3)
    if hint is ErrorCode:
        return st.sampled_from(sorted(NAMES.values())).flatmap(lambda number: _codes(number, version))
    if hint is TransformFailure:
        blob = st.binary(max_size=9)
        return st.builds(TransformFailure, st.text(max_size=5), _numbers("q"), _numbers("B"), st.none() | blob, blob)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    if isinstance(hint, type) and issubclass(hint, Message):
        hints = typing.get_type_hints(hint, include_extras=True)
        return st.builds(hint, **{name: messages(hints[name], version) for name in present(hint, version)})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        str: st.text(max_size=9),
        bytes: st.binary(max_size=30),
        timedelta: st.timedeltas(timedelta(), timedelta(days=10_000)),
    }
    return plain[hint]


def present(kind: type[Message], version: int) -> list[str]:
    """Return the fields that a message has in a version."""
    names = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        if all(mark.version <= version for mark in marks if isinstance(mark, Since)) and all(
            version <= mark.version for mark in marks if isinstance(mark, Until)
        ):
            names.append(name)
    return [name for name in names if name in kind.__struct_fields__]


def _numbers(form: str) -> st.SearchStrategy[int]:
    bits = _BOUNDS[form[-1].lower()]
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if form[-1].islower() else st.integers(0, 2**bits - 1)


def _codes(number: int, version: int) -> st.SearchStrategy[ErrorCode]:
    details = st.tuples(*(messages(hint, version) for hint in _hints(number)))
    return st.builds(ErrorCode, st.just(number), details)
