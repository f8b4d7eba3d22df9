"""Owns the recognition of pagination: what one answer says about where the next page is. Pure, and without a guess.

What is recognised is said in the options of `pagination:`, with the reason. Walking the pages is done elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Raw

from headwater.core.expression import Number
from headwater.core.extract import DocumentError, checked
from headwater.core.http import Headers
from headwater.core.link import next_link
from headwater.core.pointer import MISSING, Pointer, parse_pointer

# How deep, and how large, what surrounds the items may be to be looked into (levels; bytes of an array, of a text).
_DEPTH, _LARGEST_ARRAY, _LARGEST_TEXT = 6, 8192, 4096
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_VALUE = msgspec.json.Decoder(float_hook=Number)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

# Where APIs put the URL of the next page.
NEXT_URLS: Final = (
    "/@odata.nextLink",
    "/odata.nextLink",
    "/nextRecordsUrl",
    "/links/next",
    "/links/next/href",
    "/_links/next",
    "/_links/next/href",
    "/next",
    "/next/href",
    "/next_url",
    "/nextUrl",
    "/next_page_url",
    "/nextPageUrl",
    "/next_page",
    "/nextPage",
    "/nextLink",
    "/next_link",
    "/paging/next",
    "/paging/next/link",
    "/pagination/next",
    "/pagination/next_url",
    "/pagination/nextUrl",
    "/pagination/next_link",
    "/pagination/links/next",
    "/meta/next",
    "/meta/next_url",
    "/meta/next_page_url",
    "/meta/links/next",
    "/meta/pagination/links/next",
    "/info/next",
    "/response/next",
    "/d/__next",
    "/page/next",
)
# Where they put the token of the next page, the parameter that takes it, and what says whether there is one.
NEXT_TOKENS: Final[tuple[tuple[str, str, str], ...]] = (
    ("/response_metadata/next_cursor", "cursor", ""),
    ("/paging/next/after", "after", ""),
    ("/paging/cursors/after", "after", ""),
    ("/meta/next_token", "next_token", ""),
    ("/meta/next_cursor", "cursor", ""),
    ("/meta/cursor/next", "cursor", ""),
    ("/meta/after", "after", ""),
    ("/metadata/next_cursor", "cursor", ""),
    ("/pagination/next_cursor", "cursor", "/pagination/has_more"),
    ("/pagination/nextCursor", "cursor", "/pagination/hasMore"),
    ("/pagination/next_token", "next_token", ""),
    ("/pagination/next_page_token", "page_token", ""),
    ("/next_cursor", "cursor", "/has_more"),
    ("/nextCursor", "cursor", "/hasMore"),
    ("/next_page_token", "page_token", ""),
    ("/nextPageToken", "pageToken", ""),
    ("/nextToken", "nextToken", ""),
    ("/NextToken", "NextToken", ""),
    ("/next_token", "next_token", ""),
    ("/next_page_id", "page_id", ""),
    ("/continuationToken", "continuationToken", ""),
    ("/continuation_token", "continuation_token", ""),
    ("/continuation", "continuation", ""),
    ("/after_cursor", "cursor", "/end_of_stream"),
    ("/page_info/end_cursor", "after", "/page_info/has_next_page"),
    ("/pageInfo/endCursor", "after", "/pageInfo/hasNextPage"),
    ("/cursor/next", "cursor", ""),
    ("/cursors/next", "cursor", ""),
    ("/cursors/after", "after", ""),
    ("/next_offset", "offset", ""),
    ("/nextOffset", "offset", ""),
    ("/next", "next", ""),
    ("/next_page", "page", ""),
)
# Which says the opposite of "there is more".
_ENDS: Final = frozenset({"/end_of_stream"})
# Number of the page, number of all pages, the parameter.
PAGES: Final[tuple[tuple[str, str, str], ...]] = tuple(
    (f"{above}/{number}", f"{above}/{pages}", "page")
    for above in (
        "",
        "/meta",
        "/meta/pagination",
        "/pagination",
        "/paging",
        "/page_info",
        "/pageInfo",
        "/info",
        "/page",
    )
    for number in ("page", "current_page", "currentPage", "page_number", "pageNumber", "number")
    for pages in ("total_pages", "totalPages", "last_page", "lastPage", "page_count", "pageCount", "pages", "num_pages")
)
# Where the first item is among all, how many there are, and the parameter.
OFFSETS: Final[tuple[tuple[str, str, str], ...]] = tuple(
    (f"{above}/{offset}", f"{above}/{total}", offset)
    for above in ("", "/meta", "/pagination", "/paging", "/metadata", "/resultset", "/metadata/resultset")
    for offset in ("offset", "startAt", "skip", "start")
    for total in ("total", "total_count", "totalCount", "count")
)


class Asked(msgspec.Struct, frozen=True):
    """What the first request had: its method, its parameters, and its body where that is a map."""

    method: str = "GET"
    params: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None


class Recognised(msgspec.Struct, frozen=True):
    """How an answer goes on: options of `pagination:`, and the reason in a few words."""

    options: dict[str, Any]
    reason: str


def outline(document: bytes | Raw) -> Any:
    """Return what surrounds the items of a JSON document, decoded: large arrays are left out. None for what is no JSON.

    A document that is an array itself has no surroundings.
    """
    try:
        return _outline(checked(document), 0)
    except (DocumentError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _outline(raw: bytes | Raw, depth: int) -> Any:
    view = memoryview(raw)
    first = bytes(view[:1]) if depth else bytes(view[:64]).lstrip()[:1]
    if first == b"{":
        if depth >= _DEPTH:
            return {}
        fields = _FIELDS.decode(raw)
        found = {name: _outline(value, depth + 1) for name, value in fields.items()}
        return {name: value for name, value in found.items() if value is not MISSING}
    if first == b"[":
        return _VALUE.decode(raw) if depth and len(view) <= _LARGEST_ARRAY else MISSING
    return _VALUE.decode(raw) if len(view) <= _LARGEST_TEXT else MISSING


def recognise(
    headers: Headers, surroundings: Any, asked: Asked, *, count: int | None = None, last: bytes | Raw | None = None
) -> Recognised | None:
    """Return how an answer goes on, None when nothing in it says that it does.

    `surroundings` is its `outline`, `count` how many items it has, `last` the last of them.
    """
    if next_link(headers):
        return Recognised({"type": "link"}, "a Link header with rel=next")
    if isinstance(surroundings, dict):
        found = _by_url(surroundings) or _by_token(surroundings, asked) or _graphql(surroundings, asked)
        found = found or _by_last(surroundings, asked, last) or _by_page(surroundings, asked)
        found = found or _by_offset(surroundings, asked, count)
        if found is not None:
            return found
    return _by_headers(headers, asked) or _by_limit(asked, count)


_pointer = cache(parse_pointer)  # of the tables


def _at(surroundings: Any, pointer: str) -> Any:
    value = _pointer(pointer).find(surroundings)
    return None if value is MISSING else value


def is_url(value: Any) -> bool:
    """Return whether a value can be the URL of a next page: absolute, or relative in a way that nothing else is."""
    return isinstance(value, str) and value.startswith(("http://", "https://", "/", "?"))


def _by_url(surroundings: Any) -> Recognised | None:
    for pointer in NEXT_URLS:
        if is_url(_at(surroundings, pointer)):
            return Recognised({"type": "next-url", "next": pointer}, f"a URL at {pointer}")
    # FHIR and HAL's relatives: an array of links that say what they are. A tuple, since that may be a list.
    for name in ("link", "links"):
        for index, link in enumerate(_list(surroundings.get(name))):
            if isinstance(link, dict) and "next" in (link.get("relation"), link.get("rel")):
                field = next((it for it in ("url", "href", "uri") if is_url(link.get(it))), None)
                if field:
                    pointer = f"/{name}/{index}/{field}"
                    return Recognised({"type": "next-url", "next": pointer}, f"a link named next at /{name}")
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_token(value: Any) -> bool:
    return (isinstance(value, str) and bool(value) and not is_url(value)) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _by_token(surroundings: Any, asked: Asked) -> Recognised | None:
    for pointer, param, more in NEXT_TOKENS:
        if not _is_token(_at(surroundings, pointer)):
            continue
        options: dict[str, Any] = {"type": "cursor", "next": pointer, "param": _slot(param, asked)}
        if more and isinstance(_at(surroundings, more), bool):
            options["end" if more in _ENDS else "has_more"] = more
        return Recognised(options, f"a token at {pointer}")
    return None


def _slot(param: str, asked: Asked) -> str:
    """Return where a token goes: into the body of what is posted as a map, else into the URL."""
    if asked.body is None or asked.method == "GET":
        return param
    # Notion's name for what it calls next_cursor in its answers.
    return f"body:/{'start_cursor' if param == 'cursor' and 'page_size' in asked.body else param}"


def _graphql(surroundings: Any, asked: Asked) -> Recognised | None:
    """Look for a Relay connection: pageInfo with hasNextPage and endCursor, somewhere below `data`."""
    if asked.body is None or "query" not in asked.body:
        return None
    for pointer in _page_infos(surroundings.get("data"), Pointer(("data",))):
        info = pointer.find(surroundings)
        if isinstance(info.get("endCursor"), str) and isinstance(info.get("hasNextPage"), bool):
            variables = asked.body.get("variables")
            names = variables if isinstance(variables, dict) else {}
            name = next((it for it in ("after", "cursor", "endCursor") if it in names), "after")
            options = {
                "type": "cursor",
                "next": f"{pointer}/endCursor",
                "has_more": f"{pointer}/hasNextPage",
                "param": f"body:/variables/{name}",
            }
            return Recognised(options, f"a GraphQL connection with {pointer}")
    return None


def _page_infos(value: Any, above: Pointer) -> list[Pointer]:
    found = []
    for name, inner in value.items() if isinstance(value, dict) else ():
        if not _FIELD.fullmatch(name):
            # No name of a field in GraphQL.
            continue
        here = above / Pointer((name,))
        if name == "pageInfo" and isinstance(inner, dict):
            found.append(here)
        else:
            found += _page_infos(inner, here)
    return found


def _by_last(surroundings: Any, asked: Asked, last: bytes | Raw | None) -> Recognised | None:
    """Look for APIs whose next page begins after the last item: Stripe's lists, Elasticsearch's sorted searches."""
    fields = _fields(last)
    if surroundings.get("object") == "list" and isinstance(surroundings.get("has_more"), bool) and "id" in fields:
        options = {"type": "cursor", "last": "/id", "param": "starting_after", "has_more": "/has_more"}
        return Recognised(options, "has_more, and items with an id, as in Stripe's lists")
    if "hits" in surroundings and "_index" in fields and "sort" in fields and asked.body is not None:
        options = {"type": "cursor", "last": "/sort", "param": "body:/search_after", "total": "/hits/total/value"}
        return Recognised(options, "hits with the values that they are sorted by")
    return None


def _fields(item: bytes | Raw | None) -> Mapping[str, Any]:
    try:
        return {} if item is None else _FIELDS.decode(item)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _by_page(surroundings: Any, asked: Asked) -> Recognised | None:
    for number, pages, param in PAGES:
        first, most = _integer(_at(surroundings, number)), _integer(_at(surroundings, pages))
        if first is None or most is None or first > 1 or most <= first:
            continue
        # Spring counts pages from zero.
        if first == 0 and most == 1:
            continue
        name = next((it for it in ("page", "page_number", "pageNumber", "p") if it in asked.params), param)
        options = {"type": "page", "param": name, "start": first, "pages": pages}
        return Recognised(options, f"page {first} of {most} at {number} and {pages}")
    return None


def _by_offset(surroundings: Any, asked: Asked, count: int | None) -> Recognised | None:
    for offset, total, param in OFFSETS:
        first, most = _integer(_at(surroundings, offset)), _integer(_at(surroundings, total))
        if first != 0 or most is None or not count or most <= count:
            continue
        name = next((it for it in (param, "offset", "skip", "start") if it in asked.params), param)
        options = {"type": "offset", "param": name, "start": 0, "total": total}
        return Recognised(options, f"{count} of {most} items from {offset} on")
    return None


def _by_headers(headers: Headers, asked: Asked) -> Recognised | None:
    values = dict(headers)
    name = next((it for it in ("page", "page_number", "p") if it in asked.params), "page")
    following = values.get("x-next-page", "")
    if following.isdigit():
        return Recognised(
            {"type": "cursor", "next": "header:x-next-page", "param": name}, "the number of a page in X-Next-Page"
        )
    for header in ("x-wp-totalpages", "x-total-pages", "x-pagination-page-count"):
        pages = _integer(values.get(header))
        if pages is not None and pages > 1:
            return Recognised(
                {"type": "page", "param": name, "start": 1, "pages": f"header:{header}"}, f"{pages} pages in {header}"
            )
    return None


def _by_limit(asked: Asked, count: int | None) -> Recognised | None:
    """Look for a full page of SODA, which says nothing about the next one."""
    limit = _integer(asked.params.get("$limit"))
    if limit is None or count != limit:
        return None
    return Recognised(
        {"type": "offset", "param": "$offset", "start": 0, "size": limit}, f"a full page of $limit={limit} items"
    )
