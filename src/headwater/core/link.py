"""Owns the Link header (RFC 8288), as far as a next page is found by it. Pure."""

from __future__ import annotations

import re

from headwater.core.http import Headers

_TARGET = re.compile(r"\s*<([^>]*)>\s*")
_PARAMETER = re.compile(r""";\s*([A-Za-z0-9!#$&+.^_`|~*-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?\s*""")
# Links and parameters beyond this are no work of an honest server.
_MOST_CHARACTERS = 64 * 1024


def links_of(headers: Headers) -> list[tuple[str, frozenset[str]]]:
    """Return the links of all Link headers: their targets, and their relations in lower case.

    Links about another resource (`anchor`) are left out. What cannot be read ends the header that it is in.
    """
    links: list[tuple[str, frozenset[str]]] = []
    for name, value in headers:
        if name == "link":
            links += _read(value[:_MOST_CHARACTERS])
    return links


def _read(value: str) -> list[tuple[str, frozenset[str]]]:
    links = []
    position = 0
    while match := _TARGET.match(value, position):
        position = match.end()
        target, relations, about_others = match[1].strip(), "", False
        while parameter := _PARAMETER.match(value, position):
            position = parameter.end()
            name, quoted, token = parameter[1].lower(), parameter[2], parameter[3]
            said = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token or ""
            if name == "rel" and not relations:
                relations = said.lower()
            about_others |= name == "anchor"
        if not about_others:
            links.append((target, frozenset(relations.split())))
        comma = re.compile(r"[\s;]*,").match(value, position)
        if comma is None:
            break
        position = comma.end()
    return links


def next_link(headers: Headers) -> str | None:
    """Return the target of the first link to the next page, None when there is none."""
    return next((target for target, relations in links_of(headers) if "next" in relations), None)
