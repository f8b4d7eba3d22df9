"""Owns what the kinds of `auth:` share: the types of their options, and what may stand in a header, a cookie, a URL."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from headwater.config.fields import as_text, plain_text, without_expressions
from headwater.core.secret import MASK, Text

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What no header may hold, and what ends a cookie.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_IN_COOKIES = re.compile(r"[\x00-\x20\",;\\\x7f]")
# Headers that are libcurl's, or that frame the request.
_TAKEN = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def _header_name(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str):
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"{value!r} is no name of a header (RFC 9110)")
        if value.lower() in _TAKEN:
            raise ValueError(f"the header {value} says how the request is sent, not by whom")
    return value


def _prefix(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str) and CONTROL.search(value):
        raise ValueError("it holds a line break or another control character")
    return value


def _url(value: object) -> Text:
    text = without_expressions(as_text(value))
    url, shown = text.reveal().strip(), re.sub(r"//[^/?#@]*@", f"//{MASK}@", str(text).strip(), count=1)
    try:
        parts = urlsplit(url)
        password = parts.password
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"{shown!r} is no URL: {error}") from None
    if not good or re.search(r"[\s\\\0]", url):
        raise ValueError(f"{shown!r} is no URL of http or https")
    return Text(url, shown, (*text.parts, password) if password else text.parts)


HeaderName = Annotated[str, BeforeValidator(_header_name)]
Prefix = Annotated[str, BeforeValidator(_prefix)]
Word = Annotated[str, BeforeValidator(plain_text)]
Url = Annotated[Text, BeforeValidator(_url), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})]


def one_of(group: Any, *names: str) -> str:
    """Return which of the options is given. Raises ValueError unless it is exactly one."""
    given = [name for name in names if getattr(group, name) is not None]
    if len(given) != 1:
        said = "none of them is" if not given else f"{' and '.join(given)} are"
        listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        raise ValueError(f"it needs one of {listed}; {said} given")
    return given[0]


def only_with(group: Any, condition: str, names: tuple[str, ...], *, holds: bool) -> None:
    """Raise ValueError for options that are given and mean nothing here."""
    given = [name.removesuffix("_") for name in names if name in group.model_fields_set]
    if given and not holds:
        raise ValueError(f"{' and '.join(given)} {'goes' if len(given) == 1 else 'go'} only with {condition}")


def filled(value: Text | None) -> Text | None:
    """Raise ValueError for a text that is there and empty: as a rule a variable or a file that nobody has filled."""
    if value is not None and not value.reveal().strip():
        raise ValueError("it is empty; check where it comes from")
    return value


def no_control(value: Text | None) -> Text | None:
    """Raise ValueError for a text that no header can hold."""
    if value is not None and CONTROL.search(value.reveal()):
        raise ValueError("it holds a line break or another control character, which no header can")
    return value


def check_place(where: str, name: str, value: Text | None = None, prefix: str = "") -> None:
    """Raise ValueError unless a value of that name can stand in a header, a cookie or the query."""
    if where == "header":
        _header_name(name)
        no_control(value)
    elif where == "cookie":
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a cookie (RFC 6265)")
        if (value is not None and _IN_COOKIES.search(value.reveal())) or _IN_COOKIES.search(prefix):
            raise ValueError("a cookie holds no blanks, quotes, commas, semicolons or control characters (RFC 6265)")
    elif not name:
        raise ValueError("the parameter of the query has no name")
