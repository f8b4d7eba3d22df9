"""Owns text that may hold a secret, and the mask that keeps secrets out of everything people read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
# So many secrets that were learned at run time are masked: tokens come and go.
_MOST_LEARNED = 100


class Text:
    """Text from a configuration whose secrets are known: `reveal()` is for the wire, `str()` for people.

    `parts` are the secrets in it, for a Masker. `spans` are the ranges of what it reveals in which an expression stands
    that is for the time of the request; only what reads a configuration finds any, so that neither a secret nor what
    comes from the network is ever taken for one. Two texts are equal when what they reveal is. Immutable.
    """

    __slots__ = ("_shown", "_value", "parts", "spans")

    def __init__(
        self,
        value: str,
        shown: str | None = None,
        parts: tuple[str, ...] = (),
        spans: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self._value = value
        self._shown = value if shown is None else shown
        self.parts = parts
        self.spans = spans

    def reveal(self) -> str:
        """Return the real text. Only what builds a request may call this."""
        return self._value

    @property
    def secret(self) -> bool:
        """Whether any part of the text is masked."""
        return self._shown != self._value

    def behind(self, start: int, shown: str) -> Text:
        """Return the text from `start` on, which `shown` is of what people see, without blanks around it.

        Raises ValueError when an expression stands across the start.
        """
        value = self._value[start:]
        start += len(value) - len(value.lstrip())
        if any(begin < start for begin, _ in self.spans):
            raise ValueError("an expression cannot stand in the name")
        spans = tuple((begin - start, end - start) for begin, end in self.spans)
        return Text(value.strip(), shown, self.parts, spans)

    def plain(self) -> str:
        """Return the real text with an `x` in the place of each expression: for checks of what stands around them."""
        pieces: list[str] = []
        position = 0
        for start, end in self.spans:
            pieces += (self._value[position:start], "x")
            position = end
        return "".join((*pieces, self._value[position:]))

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Text({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _needles(secret: str) -> set[str]:
    """Return the forms of a secret that are searched for."""
    if len(secret) < 4:
        return set()
    needles = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    needles |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    # A secret inside a longer base64 text shows in one of three alignments; the edges mix with neighbours.
    raw = secret.encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        start = (0, 2, 3)[shift]
        end = len(encoded) - (0, 3, 2)[(len(raw) + shift) % 3]
        if end - start >= 8:
            core = encoded[start:end]
            needles |= {core, core.replace("+", "-").replace("/", "_")}
    return needles


class Masker:
    """Replaces every known secret in a text by `***`: as it is, URL-encoded, base64, and JSON-escaped.

    Secrets shorter than four characters are not searched for: they would mask half of every sentence.
    """

    __slots__ = ("_known", "_learned", "_needles")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = frozenset(needle for secret in secrets for needle in _needles(secret))
        # What was learned later, the oldest first; of too many the oldest are forgotten.
        self._learned: dict[str, frozenset[str]] = {}
        self._needles: tuple[str, ...] = ()
        self._sort()

    def learn(self, secret: str) -> None:
        """Mask another secret from now on: a token that was obtained meanwhile. The last hundred are remembered."""
        if secret in self._learned:
            return
        self._learned[secret] = frozenset(_needles(secret))
        while len(self._learned) > _MOST_LEARNED:
            del self._learned[next(iter(self._learned))]
        self._sort()

    def _sort(self) -> None:
        needles = self._known.union(*self._learned.values())
        self._needles = tuple(sorted(needles, key=len, reverse=True))

    def __bool__(self) -> bool:
        return bool(self._needles)

    def mask(self, text: str) -> str:
        """Return `text` with every secret masked."""
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, MASK)
        return text
