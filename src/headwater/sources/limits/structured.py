"""Owns structured fields of HTTP (RFC 9651), as far as headers about quotas use them: lists and dictionaries of items.

Does not know what any of them means.
"""

from __future__ import annotations

import re

import msgspec

Bare = str | float | bool | bytes

# Headers come from anywhere: what is longer is not worth reading.
_LONGEST = 4096
_MOST_ITEMS = 64
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,3})?", re.ASCII)
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BYTES = re.compile(r":[A-Za-z0-9+/=]*:")
_BOOLEAN = re.compile(r"\?[01]")
_ESCAPE = re.compile(r"\\(.)")


class Item(msgspec.Struct, frozen=True):
    """A value with its parameters. `key` is its name in a dictionary, empty in a list. Bytes are kept as written."""

    value: Bare
    parameters: dict[str, Bare] = {}
    key: str = ""


class _WrongError(Exception):
    """The text is no structured field."""


def read_list(text: str) -> list[Item] | None:
    """Read a list of items, or None: a field that does not parse is as if it were not there (RFC 9651, section 4.2)."""
    return _read(text, named=False)


def read_dictionary(text: str) -> list[Item] | None:
    """Read a dictionary as items with keys, the last of each key; None for what is none."""
    items = _read(text, named=True)
    return None if items is None else list({item.key: item for item in items}.values())


def _read(text: str, *, named: bool) -> list[Item] | None:
    if len(text) > _LONGEST:
        return None
    items: list[Item] = []
    reading = _Reading(text.strip(" "))
    try:
        while not reading.ended():
            if len(items) >= _MOST_ITEMS:
                return None
            items.append(reading.member() if named else reading.item())
            if not reading.ended() and not reading.comma():
                return None
    except _WrongError:
        return None
    return items


class _Reading:
    """A text, and how far it is read."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def ended(self) -> bool:
        return self._at >= len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _WrongError
        self._at = match.end()
        return match[0]

    def _skip(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += 1
            return True
        return False

    def comma(self) -> bool:
        """Go over a comma, which must have something after it."""
        self._take(_SPACE)
        if not self._skip(","):
            return False
        self._take(_SPACE)
        return not self.ended()

    def member(self) -> Item:
        key = self._take(_KEY)
        if self._skip("="):
            return self.item(key)
        return Item(value=True, parameters=self._parameters(), key=key)

    def item(self, key: str = "") -> Item:
        return Item(self._bare(), self._parameters(), key)

    def _parameters(self) -> dict[str, Bare]:
        parameters: dict[str, Bare] = {}
        while self._skip(";"):
            self._take(_SPACE)
            name = self._take(_KEY)
            parameters[name] = self._bare() if self._skip("=") else True
        return parameters

    def _bare(self) -> Bare:
        sign = self._text[self._at : self._at + 1]
        if sign == '"':
            return _ESCAPE.sub(r"\1", self._take(_STRING)[1:-1])
        if sign == ":":
            return self._take(_BYTES).encode()
        if sign == "?":
            return self._take(_BOOLEAN) == "?1"
        if sign == "-" or (sign.isascii() and sign.isdigit()):
            return float(self._take(_NUMBER))
        return self._take(_TOKEN)
