"""Owns three small transforms: a regular expression, a jq program, and the elements of a JSON array."""

from __future__ import annotations

from collections.abc import Iterator

import jq
import msgspec
import re2

from headwater.core.record import Record
from headwater.transforms.python import smartmodule

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class Regex:
    """A regular expression of the syntax that Rust and RE2 share; matching takes linear time, whatever comes."""

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.log_errors = False
        try:
            self.search = re2.compile(pattern, options=options).search
        except re2.error as error:
            said = error.args[0] if error.args else error
            raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from error


@smartmodule
def regex_filter(record: Record, *, regex: Regex) -> bool:
    """Keep a record when the expression is found anywhere in its value, which must be UTF-8."""
    return regex.search(record.value.decode()) is not None


class Program:
    """A compiled jq program."""

    def __init__(self, text: str) -> None:
        self.run = jq.compile(text).input_text


@smartmodule
def jaq(record: Record, *, filter: Program) -> Record:  # noqa: A002 - the parameter's name in Fluvio's module
    """Replace a value by what a jq program makes of it: its one result, or an array of none or many."""
    results = filter.run(record.value.decode()).all()
    return Record(msgspec.json.encode(results[0] if len(results) == 1 else results), record.key)


@smartmodule
def array_map_json(record: Record) -> Iterator[Record]:
    """Make a record of each element of a JSON array, without a key. The elements' own bytes are kept, less blanks."""
    for element in _ARRAY.decode(msgspec.json.format(record.value, indent=-1)):
        yield Record(bytes(element))
