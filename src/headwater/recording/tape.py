"""Owns a recording as values: rounds of exchanges, without secrets, and which of them answers a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Headers, Request, Response
from headwater.core.secret import MASK

# Whatever their name: the values of these are credentials, or of one moment.
_HIDDEN: Final = frozenset({"set-cookie", "www-authenticate-token", "authentication-info", "proxy-authentication-info"})
# A signed token is a credential, and another one each time.
_TOKEN: Final = re.compile(r"eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*")
# Members of answers that hold one, whoever answers and whatever it is for.
_NAMED: Final = re.compile(
    r'("(?:(?:access|refresh|id|session|auth|bearer)_?token|client_?secret|password|api_?key|jwt)"\s*:\s*")[^"\\]+',
    re.IGNORECASE,
)

Mask = Callable[[str], str]


class Asked(msgspec.Struct, frozen=True):
    """A request as it was sent, masked. A body that is no text is described."""

    method: str
    url: str
    headers: Headers = ()
    body: str | None = None

    def sentence(self) -> str:
        """Say in a line what it is."""
        body = "" if self.body is None else f" with a body of {len(self.body)} characters"
        return f"{self.method} {self.url}{body}"


class Answered(msgspec.Struct, frozen=True):
    """What came back: a response, or with `failure` (the slug of its kind) none; `message` and `hint` are its words."""

    status: int = 0
    version: str = "HTTP/1.1"
    headers: Headers = ()
    body: bytes = b""
    url: str = ""
    seconds: float = 0.0
    redirects: int = 0
    failure: str = ""
    message: str = ""
    hint: str = ""

    def outcome(self, url: str) -> Response | FetchError:
        """Return what is delivered to a connector that has asked for `url`."""
        if self.failure:
            kind = _kinds().get(self.failure, errors.ProtocolError)
            return kind(self.message, hint=self.hint)
        return Response(
            self.status,
            self.version,
            self.headers,
            self.body,
            self.url or url,
            self.seconds,
            len(self.body),
            self.redirects,
        )


class Take(msgspec.Struct, frozen=True):
    """One exchange of a recording."""

    asked: Asked
    answered: Answered


class Round(msgspec.Struct, frozen=True):
    """The exchanges of one scheduled time (ms since the Unix epoch), in order."""

    scheduled: int
    takes: list[Take]


class Tape(msgspec.Struct, frozen=True):
    """A recording of one connector."""

    connector: str
    rounds: list[Round]


def asked(request: Request, mask: Mask) -> Asked:
    """Return a request as it is recorded."""
    headers = tuple(
        (name, MASK if name.lower() in request.secret_headers else _masked(value, mask))
        for name, value in request.headers
    )
    body = None
    if request.body is not None:
        try:
            body = _masked(request.body.decode(), mask)
        except UnicodeDecodeError:
            body = f"({len(request.body)} bytes)"
    return Asked(request.method, _masked(request.shown_url, mask), headers, body)


def answered(outcome: Response | FetchError, mask: Mask) -> Answered:
    """Return what came back as it is recorded."""
    if isinstance(outcome, FetchError):
        return Answered(failure=outcome.slug, message=mask(outcome.message), hint=mask(outcome.hint))
    headers = tuple(
        (name, MASK if name.lower() in _HIDDEN else _masked(value, mask)) for name, value in outcome.headers
    )
    body = outcome.body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        # Nothing in it is known to be a secret; what is none of text is kept as it is.
        masked = body.decode("latin-1")
        body = mask(masked).encode("latin-1", "replace")
    else:
        body = _NAMED.sub(rf"\g<1>{MASK}", _masked(text, mask)).encode()
    return Answered(
        outcome.status,
        outcome.version,
        headers,
        body,
        _masked(outcome.url, mask),
        round(outcome.elapsed, 3),
        outcome.redirects,
    )


def _masked(text: str, mask: Mask) -> str:
    return _TOKEN.sub(MASK, mask(text))


def _kinds() -> dict[str, type[FetchError]]:
    def below(kind: type[FetchError]) -> Iterator[type[FetchError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    return {kind.slug: kind for kind in below(FetchError)}


class Player:
    """A recording that answers requests, each of its exchanges once, in their order.

    `missed` are the requests that it has no answer for.
    """

    def __init__(self, tape: Tape) -> None:
        self._left = [take for part in tape.rounds for take in part.takes]
        self.missed: list[str] = []

    @property
    def left(self) -> list[Take]:
        """What nobody has asked for."""
        return list(self._left)

    def answer(self, wanted: Asked) -> Answered | None:
        """Return the answer to a request, the first that is left; None when there is none."""
        for place, take in enumerate(self._left):
            if (take.asked.method, take.asked.url, take.asked.body) == (wanted.method, wanted.url, wanted.body):
                del self._left[place]
                return take.answered
        near = next((it for it in self._left if it.asked.method == wanted.method), None)
        said = f"; next in the recording is {near.asked.sentence()}" if near else "; nothing is left in the recording"
        if near is not None and near.asked.url == wanted.url:
            said = f"; the recording has another body there: {_shown(near.asked.body)} instead of {_shown(wanted.body)}"
        self.missed.append(f"{wanted.sentence()}{said}")
        return None


def _shown(body: str | None) -> str:
    return "none" if body is None else body if len(body) <= 200 else f"{body[:200]}..."
