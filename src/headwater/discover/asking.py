"""Owns what somebody wants to ask for, as far as it is known before anything is asked. Sends nothing.

Texts may hold marks of secrets: what is written into a file is the secret's name, what is sent its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec

# Two characters that no text of the world uses stand around the name of a secret.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK: Final = re.compile(f"{_OPEN}([A-Za-z_][A-Za-z0-9_]*){_CLOSE}")

Pairs = tuple[tuple[str, str], ...]
Scheme = Literal["basic", "digest", "bearer", "api-key", "negotiate", "sigv4"]


def mark(name: str) -> str:
    """Return the mark of a secret."""
    return f"{_OPEN}{name}{_CLOSE}"


def clean(text: str) -> str:
    """Return a foreign text without anything that could be taken for a mark, and without lone surrogates."""
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def marks(text: str) -> list[str]:
    """Return the names of the secrets in a text."""
    return _MARK.findall(text)


def written(text: str) -> str:
    """Return a text as a configuration has it."""
    return _MARK.sub(lambda found: "${{ secrets." + found[1] + " }}", text)


def shown(text: str) -> str:
    """Return a text as people may see it."""
    return _MARK.sub(lambda found: f"<{found[1]}>", text)


def revealed(text: str, values: Mapping[str, str]) -> str:
    """Return a text as it is sent. Raises KeyError when a secret has no value."""
    return _MARK.sub(lambda found: values[found[1]], text)


class Secret(msgspec.Struct, frozen=True):
    """A secret of a draft. `value` is None when it is not known. `origin` says where it was, in words."""

    name: str
    value: str | None
    origin: str

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


class Auth(msgspec.Struct, frozen=True):
    """How the request shows who sends it: the options of the group `auth:`, texts perhaps with marks."""

    type: Scheme
    options: dict[str, str]
    reason: str


class Ask(msgspec.Struct, frozen=True):
    """A request as somebody described it.

    `url` has no query and no user; `params` are decoded. `body` is a text, or a JSON value. `options` are further
    options of `http:` with the reason for each. `notes` say what was left out, and why.
    """

    url: str
    method: str = "GET"
    params: Pairs = ()
    headers: Pairs = ()
    body: Any = None
    auth: Auth | None = None
    secrets: tuple[Secret, ...] = ()
    options: tuple[tuple[str, Any, str], ...] = ()
    notes: tuple[str, ...] = ()
    # Whether the answer was to be shown while it comes.
    unbuffered: bool = False
    # Words for a name, such as the operation's; and where all this came from.
    name: str = ""
    source: str = ""

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.url).hostname or ""

    def header(self, name: str) -> str | None:
        """Return the value of a header, None when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def harmless(self) -> bool:
        """Whether sending it again changes nothing, as far as can be told: a GET, a query of GraphQL, a search."""
        if self.method in {"GET", "HEAD"}:
            return True
        if self.method != "POST":
            return False
        query = self.body.get("query") if isinstance(self.body, dict) else None
        if isinstance(query, str) and "{" in query:
            return not re.search(r"\b(?:mutation|subscription)\b", query)
        return bool(re.search(r"(?:^|[/_.-])(?:search|query|find|filter|lookup)/?$", urlsplit(self.url).path.lower()))

    def replace(self, **changes: Any) -> Ask:
        """Return a changed one."""
        return msgspec.structs.replace(self, **changes)

    def noting(self, *notes: str) -> Ask:
        """Return one with more notes."""
        return self.replace(notes=(*self.notes, *notes))

    def keeping(self, name: str, value: str | None, origin: str) -> tuple[Ask, str]:
        """Return one that has a secret more, and its mark. Equal values are one secret; equal names get a number."""
        for secret in self.secrets:
            if value is not None and secret.value == value:
                return self, mark(secret.name)
        taken = {secret.name for secret in self.secrets}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return self.replace(secrets=(*self.secrets, Secret(free, value, origin))), mark(free)

    def mapped(self, change: Callable[[str], str]) -> Ask:
        """Return one with every text changed that goes over the wire."""
        return self.replace(
            url=change(self.url),
            params=tuple((change(name), change(value)) for name, value in self.params),
            headers=tuple((name, change(value)) for name, value in self.headers),
            body=mapped(self.body, change),
            auth=None
            if self.auth is None
            else msgspec.structs.replace(
                self.auth, options={name: change(value) for name, value in self.auth.options.items()}
            ),
        )


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    return value


def from_url(text: str, source: str = "the address") -> Ask:
    """Return what an address alone asks for. Raises ValueError for what is no address."""
    text = clean(text.strip())
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - asked for its ValueError
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: {error}") from None
    if parts.scheme in {"ws", "wss"}:
        raise ValueError(
            f"{text!r} is a WebSocket, which tells nothing by itself; docs/streaming.md shows what to write"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{text!r} is no address of http or https")
    netloc = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, netloc, parts.path or "/", "", ""))
    ask = Ask(bare, params=query_pairs(parts.query), source=source)
    user = parts.netloc.rpartition("@")[0]
    if user:
        from headwater.discover.credentials import basic  # noqa: PLC0415 - it works on what stands here

        ask = basic(ask, user, "the address", encoded=True)
    return ask


def query_pairs(query: str) -> Pairs:
    """Return the parameters of a query, decoded."""
    return tuple((clean(name), clean(value)) for name, value in parse_qsl(query, keep_blank_values=True))


def with_query(url: str, params: Iterable[tuple[str, str]]) -> str:
    """Return a URL with parameters, encoded as the connector encodes them."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in params)
    return f"{url}?{query}" if query else url
