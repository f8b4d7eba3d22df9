"""Owns the structure of JSON text without its meaning: strings, brackets and commas, in whatever chunks they come.

Does not check what stands between them: a decoder does, where it matters. Each byte is looked at a bounded number of
times, whatever the text and the chunks.
"""

from __future__ import annotations

import re

from headwater.sources.split.item import BrokenBodyError

# Nothing that people make is nested a tenth as deep, and every bracket of what somebody makes to hurt costs a step.
MOST_DEPTH = 10_000

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(levels: int) -> bytes:
    """Return the pattern of a whole object or array with so many levels below it; which bracket is which is open."""
    inner = value = _STRING
    for _ in range(levels):
        value = rb'[\[{][^"\[\]{}]*+(?:%b[^"\[\]{}]*+)*+[\]}]' % inner
        inner = rb"(?:%b|%b)" % (_STRING, value)
    return value


# A value nested four deep is one step for the engine of regular expressions; deeper ones are taken bracket by bracket.
_VALUE = _nested(4)
STRING = re.compile(_STRING, re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SHALLOW = re.compile(rb'%b|%b|[\[\]{},"]' % (_VALUE, _STRING), re.DOTALL)
# Below the outermost level commas do not matter, so that a run of whole values is one step.
_DEEP = re.compile(rb'(?:(?:%b|%b)[^"\[\]{}]*+)++|[\[\]{}"]' % (_VALUE, _STRING), re.DOTALL)

_QUOTE, _COMMA = b'",'
_OPEN, _CLOSE = frozenset(b"[{"), frozenset(b"]}")


class Scanner:
    """Walks over JSON text from inside an array or object on, and finds its commas and its end.

    `depth` is how many brackets are open within it; `at` is how far the walk has got in the data of the last call.
    """

    __slots__ = ("_in_string", "at", "depth")

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.at = 0
        self._in_string = False

    def walk(self, data: bytes, commas: list[int] | None = None, *, most: int | None = None) -> int | None:  # noqa: C901 - one hot loop
        """Walk on from `at` to the bracket that closes the outermost level; return its place, or None: not yet.

        Places of commas of the outermost level are added to `commas`, if given; after `most` of them the walk stops.
        What was walked over may be cut off in front before the next call: `at` moves with it.
        """
        at, end = self.at, len(data)
        while at < end:
            if self._in_string:
                rest = _REST_OF_STRING.match(data, at)
                assert rest is not None
                at = rest.end()
                if at >= end or data[at] != _QUOTE:
                    break  # the end, or a backslash whose other half is still to come
                at += 1
                self._in_string = False
            outer = self.depth == 0 and commas is not None
            found = (_SHALLOW if outer else _DEEP).search(data, at)
            if found is None:
                at = end
                break
            start, at = found.span()
            if at - start > 1:
                continue
            sign = data[start]
            if sign == _QUOTE:
                self._in_string = True
            elif sign in _OPEN:
                self.depth += 1
                if self.depth > MOST_DEPTH:
                    raise BrokenBodyError(f"the body is nested more than {MOST_DEPTH:,} deep")
            elif sign in _CLOSE:
                if self.depth == 0:
                    self.at = at
                    return start
                self.depth -= 1
            elif outer and commas is not None:
                commas.append(start)
                if most is not None and len(commas) >= most:
                    break
        self.at = at
        return None
