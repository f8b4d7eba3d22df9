"""Owns text that may hold a secret, and the mask that keeps secrets out of everything people read.

How a secret may be written down is `disguise`'s to know.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from headwater.core.disguise import (
    Words,
    around_base64,
    base64_words,
    lower_hexadecimal,
    readings,
    standard_base64,
)
from headwater.core.empty import NO_NAMES

MASK: Final = "***"
# How a value begins that is in the place of a secret where none is to be had: for a replay.
STAND_IN: Final = "stand-in-for-"
# Shorter ones would mask half of every sentence (characters).
SHORTEST: Final = 4
# A line of a longer secret is one by itself from this length on; there are so many of them at most.
_SHORTEST_LINE: Final = 8
_MOST_LINES: Final = 1000
# Tokens that are fetched are replaced all the time; whatever came this long ago has expired.
_MOST_LEARNED: Final = 256
# Reasons repeat from poll to poll: texts of this length that hold no secret are remembered, so many of them.
_LONGEST_REMEMBERED: Final = 200
_MOST_REMEMBERED: Final = 128

_NO_TEXTS: Final[set[str]] = set()
_NO_WORDS: Final = Words(())


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


class Masker:
    """Replaces every known secret in a text by `***`, in whatever disguise it comes.

    That is: as it is; percent-encoded, escaped as in JSON or HTML, and these in one another; inside base64, of the
    standard or for URLs, wherever in it; in hexadecimal; and each longer line of one that has several. Secrets shorter
    than four characters are not looked for: they would mask half of every sentence. May be used by several threads.
    """

    __slots__ = ("_base64", "_clean", "_given", "_hexadecimal", "_learned", "_lock", "_plain", "_ready", "_spaces")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._given = frozenset(secret for secret in secrets if len(secret) >= SHORTEST) or NO_NAMES
        self._learned: dict[str, None] = {}
        self._lock = threading.Lock()
        # Made when the first text comes: most connectors never need it, and share what is empty.
        self._ready = not self._given
        self._clean = _NO_TEXTS
        self._plain = self._base64 = self._hexadecimal = _NO_WORDS
        self._spaces = False

    def __bool__(self) -> bool:
        return bool(self._given or self._learned)

    def learn(self, secret: str) -> None:
        """Mask a secret that was not known at first, such as a token that was fetched. The last 256 are remembered."""
        if len(secret) < SHORTEST or secret in self._given:
            return
        with self._lock:
            known = secret in self._learned
            self._learned.pop(secret, None)
            self._learned[secret] = None
            while len(self._learned) > _MOST_LEARNED:
                del self._learned[next(iter(self._learned))]
            if not known:
                self._ready = False

    def mask(self, text: str) -> str:
        """Return `text` with every secret masked."""
        if not self._ready:
            self._prepare()
        clean = self._clean
        if not self._plain or len(text) < SHORTEST or text in clean:
            return text
        places = sorted(self._places(text))
        if not places:
            if len(text) <= _LONGEST_REMEMBERED:
                if len(clean) >= _MOST_REMEMBERED:
                    clean.clear()
                clean.add(text)
            return text
        pieces: list[str] = []
        position = 0
        for start, end in places:
            if start > position or not pieces:
                pieces += (text[position:start], MASK)
            position = max(position, end)
        return "".join((*pieces, text[position:]))

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        for reading in readings(text, forms=self._spaces):
            read = reading.text
            for start, end in self._plain.places(read):
                yield reading.source(start), reading.source(end)
            for start, end in self._base64.places(standard_base64(read)):
                first, last = around_base64(read, start, end)
                yield reading.source(first), reading.source(last)
            for start, end in self._hexadecimal.places(lower_hexadecimal(read)):
                yield reading.source(start), reading.source(end)

    def _prepare(self) -> None:
        with self._lock:
            if self._ready:
                return
            plain: set[str] = set()
            coded: set[str] = set()
            hexadecimal: set[str] = set()
            for secret in (*self._given, *self._learned):
                for word in _words(secret):
                    data = word.encode("utf-8", "surrogatepass")
                    # Headers are read as Latin-1, whatever a server meant by them.
                    plain |= {word, data.decode("latin-1")}
                    # Clients of OAuth 2 and whoever echoes a URL encode what is percent-encoded already.
                    for inner in {data, quote(data, safe="").encode(), quote_plus(data).encode()}:
                        coded.update(base64_words(inner))
                        hexadecimal.add(inner.hex())
            self._base64, self._hexadecimal = Words(coded), Words(hexadecimal)
            self._spaces = any(" " in word for word in plain)
            self._plain = Words(plain)
            # Another set, for whoever masks just now with the words of before adds to that one.
            self._clean = set()
            self._ready = True


def _words(secret: str) -> Iterator[str]:
    """Yield what is to be found of a secret: all of it, and of one with several lines those that tell something."""
    yield secret
    bare = secret.strip()
    if bare != secret and len(bare) >= SHORTEST:
        yield bare
    for line in secret.splitlines()[:_MOST_LINES] if "\n" in bare else ():
        told = line.strip()
        # -----BEGIN PRIVATE KEY----- is no secret.
        if len(told) >= _SHORTEST_LINE and not told.startswith("-----"):
            yield told
