"""Owns the reading of HAR files (HTTP Archive 1.2), as browsers save them: which exchange was meant, what came back.

Nothing is sent; what was recorded is there to be looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from headwater.core.http import Response
from headwater.discover import credentials
from headwater.discover.asking import Ask, clean, from_url
from headwater.discover.body import look
from headwater.discover.browser import without_browser
from headwater.discover.curlline import as_value
from headwater.discover.items import find_items

# More than a long session in a browser leaves (bytes), and so many of its exchanges are looked at.
LONGEST: Final = 256 * 1024 * 1024
_MOST_ENTRIES: Final = 20_000
_ASSETS: Final = tuple(
    f".{it}" for it in ("js", "css", "png", "jpg", "jpeg", "gif", "svg", "woff", "woff2", "ico", "map", "webp", "mp4")
)


class HarError(ValueError):
    """The file is no HAR, or has no such exchange."""


class Exchange(msgspec.Struct, frozen=True):
    """An exchange of the file: its number from 1, what was asked for, what came back, and how likely it was meant."""

    number: int
    ask: Ask
    response: Response | None
    score: float

    def sentence(self) -> str:
        """Say in a line what it is."""
        status = f" -> {self.response.status}, {len(self.response.body)} B" if self.response is not None else ""
        return f"{self.number}: {self.ask.method} {self.ask.url}{status}"


def is_har(document: Any) -> bool:
    """Return whether a JSON value is a HAR file."""
    return isinstance(document, dict) and isinstance(document.get("log"), dict) and "entries" in document["log"]


def read_har(document: Any) -> list[Exchange]:
    """Return the exchanges of a HAR, the likeliest first. Raises HarError."""
    entries = document["log"].get("entries") if is_har(document) else None
    if not isinstance(entries, list):
        raise HarError("this is no HAR file: there is no list log.entries")
    found = []
    for number, entry in enumerate(entries[:_MOST_ENTRIES], start=1):
        if isinstance(entry, dict) and (exchange := _exchange(number, entry)) is not None:
            found.append(exchange)
    if not found:
        raise HarError("no exchange of the HAR file is one of http or https that a connector could do")
    return sorted(found, key=lambda it: (-it.score, it.number))


def choose(exchanges: Sequence[Exchange], wanted: str | None) -> Exchange:
    """Return the exchange of a number, or the likeliest one whose address has a text. Raises HarError."""
    if wanted is None:
        return exchanges[0]
    if wanted.isascii() and wanted.isdigit():
        found = [it for it in exchanges if str(it.number) == wanted]
    else:
        found = [it for it in exchanges if wanted in it.ask.url]
    if not found:
        raise HarError(f"no exchange of the HAR file is {wanted!r}")
    return found[0]


def _exchange(number: int, entry: dict[str, Any]) -> Exchange | None:
    request, response = entry.get("request"), entry.get("response")
    if not isinstance(request, dict):
        return None
    method = str(request.get("method", "")).upper()
    url = request.get("url")
    if not isinstance(url, str) or method not in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}:
        return None
    try:
        ask = from_url(url, "the HAR file")
    except ValueError:
        return None
    posted = request.get("postData")
    body = clean(str(posted.get("text", ""))) if isinstance(posted, dict) else ""
    ask = ask.replace(method=method, headers=_pairs(request.get("headers")), body=body or None)
    ask = credentials.hide(without_browser(as_value(ask)))
    answer = _response(response, url) if isinstance(response, dict) else None
    return Exchange(number, ask, answer, _score(ask, answer))


def _pairs(listed: Any) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("value"), str):
            name, value = clean(item["name"]).strip(), clean(item["value"])
            if name and not name.startswith(":") and name.isascii() and not any(it in value for it in "\r\n\0"):
                pairs.append((name, value))
    return tuple(pairs)


def _response(response: dict[str, Any], url: str) -> Response | None:
    status = response.get("status")
    if not isinstance(status, int) or not 100 <= status <= 599:
        return None
    content = response.get("content")
    content = content if isinstance(content, dict) else {}
    text = content.get("text")
    body = text.encode("utf-8", "replace") if isinstance(text, str) else b""
    if content.get("encoding") == "base64":
        try:
            body = base64.b64decode(body)
        except (binascii.Error, ValueError):
            body = b""
    headers = tuple((name.lower(), value) for name, value in _pairs(response.get("headers")))
    if not any(name == "content-type" for name, _ in headers) and isinstance(content.get("mimeType"), str):
        headers = (*headers, ("content-type", clean(content["mimeType"])))
    return Response(status, "HTTP/1.1", headers, body, url, elapsed=0.0, received=len(body))


def _score(ask: Ask, response: Response | None) -> float:
    """Return how likely an exchange is the one that was meant: an answer with a list of items in it."""
    path = urlsplit(ask.url).path.lower()
    if path.endswith(_ASSETS) or response is None:
        return -10.0
    score = 0.0 if 200 <= response.status < 300 else -5.0
    sample = look(response.body, response.header("content-type") or "")
    if sample.format in {"json", "ndjson", "csv", "xml"}:
        score += 3.0
        items = find_items(sample)
        score += min(len(items.items), 20) * 0.3
        score += 2.0 if items.key else 0.0
    elif sample.format in {"html", "binary", "empty"}:
        score -= 4.0
    if any(word in path for word in ("/api/", "/v1/", "/v2/", "/v3/", "graphql", "/rest/", ".json")):
        score += 1.5
    if any(
        word in ask.host
        for word in ("analytics", "telemetry", "sentry", "doubleclick", "googletag", "segment", "datadog")
    ):
        score -= 6.0
    return score
