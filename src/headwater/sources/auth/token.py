"""Owns a token as a value, why there is none, and its place in a request. Pure: getting one is the engine's work."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec

from headwater.core.http import Request
from headwater.core.secret import MASK

# No API's token is longer, and a hostile endpoint's could be (characters).
LONGEST_TOKEN = 64 * 1024


class Token(msgspec.Struct, frozen=True):
    """What requests carry. `lifetime` is for how many seconds from now it is good; None until it is refused.

    After `renew_after` seconds another one is got, and this one is used as long as that fails; None: at its end.
    `refresh` is the refresh token that came with it. It holds secrets: it is never shown.
    """

    value: str
    lifetime: float | None = None
    refresh: str | None = None
    renew_after: float | None = None

    def renewed_before(self, margin: float) -> Token:
        """Return the token, to be replaced so many seconds before its end; but not in the first half of its life."""
        if self.lifetime is None:
            return self
        return msgspec.structs.replace(self, renew_after=self.lifetime - min(margin, self.lifetime / 2))

    def __repr__(self) -> str:
        return "Token(***)"


class Failure(msgspec.Struct, frozen=True):
    """Why there is no token: a sentence, free of what was sent, and what to do about it.

    `passing`: the same may succeed a moment later; `wait` is for how many seconds the server asked to be left alone.
    `over`: what the token is given for - a refresh token, a login that is kept - counts no more.
    """

    reason: str
    hint: str = ""
    passing: bool = False
    wait: float = 0.0
    over: bool = False


class Place(msgspec.Struct, frozen=True):
    """Where a token goes: `where` is header, query or cookie; `prefix` stands before it with a blank between them.

    `whole` says that the token is the value of the Cookie header itself: several cookies.
    """

    where: str
    name: str
    prefix: str = ""
    whole: bool = False

    def text(self, value: str) -> str:
        """Return a token as it stands there."""
        return f"{self.prefix} {value}" if self.prefix else value


def placed(request: Request, place: Place, value: str) -> Request:
    """Return the request with a token in its place, which is secret: it crosses to no other origin."""
    text = place.text(value)
    if place.where == "query":
        parts, shown = urlsplit(request.url), urlsplit(request.shown_url)
        name = quote(place.name, safe="")
        return msgspec.structs.replace(
            request,
            url=urlunsplit(parts._replace(query=_joined(parts.query, f"{name}={quote(text, safe='')}"))),
            shown_url=urlunsplit(shown._replace(query=_joined(shown.query, f"{name}={MASK}"))),
            secret_params=request.secret_params | {place.name},
        )
    headers = request.headers
    if place.where == "cookie":
        pair = text if place.whole else f"{place.name}={text}"
        before = [value for name, value in headers if name.lower() == "cookie"]
        headers = tuple((name, value) for name, value in headers if name.lower() != "cookie")
        header = ("Cookie", "; ".join([*before, pair]))
    else:
        header = (place.name, text)
    return msgspec.structs.replace(
        request, headers=(*headers, header), secret_headers=request.secret_headers | {header[0].lower()}
    )


def carries(request: Request, place: Place, value: str) -> bool:
    """Return whether a request has this token in its place."""
    text = place.text(value)
    if place.where == "query":
        pairs = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
        return (place.name, text) in pairs
    if place.where == "cookie":
        pair = text if place.whole else f"{place.name}={text}"
        return any(name.lower() == "cookie" and sent.endswith(pair) for name, sent in request.headers)
    return any(name.lower() == place.name.lower() and sent == text for name, sent in request.headers)


def unfit(value: object) -> str:
    """Return why a value is no token, empty when it is one: what comes from a server goes into a header."""
    if not isinstance(value, str):
        return "is no text"
    if not value:
        return "is empty"
    if len(value) > LONGEST_TOKEN:
        return f"is longer than {LONGEST_TOKEN} characters"
    if not value.isprintable() or not value.isascii():
        return "holds characters that no header can"
    return ""


def _joined(query: str, pair: str) -> str:
    return f"{query}&{pair}" if query else pair
