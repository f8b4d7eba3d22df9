"""Owns what can be wrong between the groups of options that make requests. What is wrong within one is said there.

That is: names that nobody gives a value, values that nobody asks for, pages without a place in the request.
Which groups a source has at all is `streaming`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from headwater.config import collection, streaming
from headwater.config.auth import header_of
from headwater.config.children import ChildrenOptions
from headwater.config.cursor import CursorOptions
from headwater.config.finding import Finding, Path
from headwater.config.gap import GapOptions
from headwater.config.pagination import PaginationOptions
from headwater.config.parts import Parts, tree_of
from headwater.config.problem import nearest
from headwater.core.expression import Expression
from headwater.core.secret import Text
from headwater.core.spot import Slot
from headwater.core.template import Template

if TYPE_CHECKING:
    from headwater.config.http import HttpOptions


class Known(msgspec.Struct, frozen=True):
    """What expressions may ask for, and whether that is of a poll, of a stream, or about a gap in one.

    Where cursors may be `late` what holds one is not there before the cursor has a value.
    """

    cursors: Mapping[str, CursorOptions] = {}
    window: bool = False
    pages: bool = False
    item: bool = False
    of: Literal["poll", "stream", "gap"] = "poll"
    late: bool = False


def check(http: HttpOptions) -> list[Finding]:
    """Return what does not fit together in a connector's options."""
    findings = list(streaming.check(http))
    if http.source == "poll":
        return [*findings, *_check_poll(http)]
    return [*findings, *_check_stream(http)]


def _check_stream(http: HttpOptions) -> Iterator[Finding]:
    known = Known(http.cursor, of="stream")
    used = [(path, expression, known) for path, expression in _expressions(http.parts.texts())]
    config = http.websocket_config
    if config is not None:
        for path, expression in _expressions(config.texts()):
            late, item = path[0] == "resume_message", path[0] == "answers"
            used.append((("websocket_config", *path), expression, msgspec.structs.replace(known, late=late, item=item)))
        if config.resume_message and not any(
            path[:2] == ("websocket_config", "resume_message") and expression.space == "cursor"
            for path, expression, _ in used
        ):
            message = "it holds no cursor, so that nothing tells whether there is something to go on from"
            hint = "write ${{ cursor.NAME }} into it, or make it one of subscription_messages"
            yield Finding(("websocket_config", "resume_message"), message, hint)
    for path, expression, where in used:
        if (finding := _unknown(path, expression, where)) is not None:
            yield finding
    asked = {expression.name for _, expression, _ in used if expression.space == "cursor"}
    for name in http.cursor:
        if name not in asked:
            message = f"nothing that is sent when a connection is begun asks for the cursor {name}"
            yield Finding(("cursor", name), message, f"write ${{{{ cursor.{name} }}}} into params", warning=True)
    if http.gap is not None:
        yield from _check_gap(http, http.gap)


def _check_gap(http: HttpOptions, gap: GapOptions) -> Iterator[Finding]:
    backfill, above = gap.backfill, ("gap", "backfill")
    pagination = backfill.pagination
    pages = pagination is not None and pagination.type != "none"
    used = list(_expressions(backfill.parts.texts()))
    known = Known(window=True, pages=pages, of="gap")
    for path, expression in used:
        if (finding := _unknown(path, expression, known)) is not None:
            yield msgspec.structs.replace(finding, path=(*above, *finding.path))
    asked = {(expression.space, expression.name) for _, expression in used}
    if not any(space == "window" for space, _ in asked):
        message = "no expression of it asks for the window: every request is the same, whichever the gap"
        yield Finding(above, message, "write ${{ window.start }} and ${{ window.end }} into params", warning=True)
    if pagination is not None and pages:
        for finding in _check_pages(pagination, backfill.parts, {}, asked):
            yield msgspec.structs.replace(finding, path=(*above, *finding.path))
    filled = header_of(http.auth)
    for name, _ in backfill.headers:
        if http.auth is not None and name.lower() == filled:
            message = f"headers and auth both say what {filled} is"
            yield Finding((*above, "headers", name), message, "leave it out: auth is for these requests as well")
    if http.auth is None and any(rule.do == "reauthenticate" for rule in backfill.rules):
        message = "a rule has do: reauthenticate, but there is no auth that could be renewed"
        yield Finding((*above, "rules"), message, "write retry or fail")


def _check_poll(http: HttpOptions) -> list[Finding]:
    parts = http.parts
    pagination = http.pagination
    pages = pagination is not None and pagination.type != "none"
    used = list(_expressions(parts.texts()))
    known = Known(http.cursor, http.window is not None, pages)
    findings = [finding for path, expression in used if (finding := _unknown(path, expression, known))]
    asked = {(expression.space, expression.name) for _, expression in used}
    spaces = {space for space, _ in asked}
    if http.window is not None and "window" not in spaces:
        message = "no expression of the request asks for the window: every request is the same"
        findings.append(
            Finding(("window",), message, "write ${{ window.start }} and ${{ window.end }} into params", warning=True)
        )
    for name in http.cursor:
        if ("cursor", name) not in asked and (pagination is None or pagination.stop_at != name):
            message = f"no expression of the request asks for the cursor {name}"
            findings.append(
                Finding(("cursor", name), message, f"write ${{{{ cursor.{name} }}}} into params", warning=True)
            )
    if pagination is not None and pages:
        findings += _check_pages(pagination, parts, http.cursor, asked)
        if http.records is None and _counts_items(pagination):
            message = "pages end where there are no more items, and nothing says what the items are"
            hint = "say where they are: records: {split: /items}, or `/` where the body is the array"
            findings.append(Finding(("pagination",), message, hint, warning=True))
    if http.children is not None:
        findings += _check_children(http, http.children, known)
    findings += collection.check(http)
    return findings


def _check_children(http: HttpOptions, children: ChildrenOptions, known: Known) -> Iterator[Finding]:
    pagination = children.pagination
    pages = pagination is not None and pagination.type != "none"
    below = msgspec.structs.replace(known, pages=pages, item=True)
    used = list(_expressions(children.parts.texts()))
    for path, expression in used:
        if (finding := _unknown(path, expression, below)) is not None:
            yield msgspec.structs.replace(finding, path=("children", *finding.path))
    if not any(expression.space == "item" for _, expression in used):
        message = "no expression of it asks for the item: every request is the same"
        yield Finding(("children",), message, "write ${{ item./id }} into the endpoint", warning=True)
    if pagination is not None and pages:
        asked = {(expression.space, expression.name) for _, expression in used}
        for finding in _check_pages(pagination, children.parts, {}, asked):
            yield msgspec.structs.replace(finding, path=("children", *finding.path))
    if http.records is None:
        yield Finding(("children",), "there are no items to ask about", "say where they are: records: {split: /items}")
    for option in ("deduplicate", "changes"):
        if getattr(http, option, None) is not None:
            yield Finding(("children",), f"children and {option} exclude each other", f"leave {option} out")


def _expressions(texts: Iterable[tuple[Path, Text]]) -> Iterator[tuple[Path, Expression]]:
    for path, text in texts:
        if text.spans:
            for expression in Template.parse(text).expressions:
                yield path, expression


def _unknown(path: Path, expression: Expression, known: Known) -> Finding | None:
    """Return what is wrong with an expression's name, None when it has a value at some time."""
    shown = f"${{{{ {expression.source} }}}}"
    if known.of != "poll" and (finding := _elsewhere(path, expression, known, shown)) is not None:
        return finding
    if expression.space == "cursor":
        options = known.cursors.get(expression.name)
        if options is None:
            near = nearest(expression.name, list(known.cursors)) or "declare it under cursor"
            return Finding(path, f"{shown}: there is no cursor {expression.name!r}", near)
        if options.initial is None and not expression.has_default and not known.late:
            hint = "give the cursor an `initial`, or write | default(null), which leaves a parameter out at first"
            when = "in the first request" if known.of == "poll" else "when the first connection is begun"
            return Finding(path, f"{shown} has no value {when}", hint)
    elif expression.space == "window" and not known.window:
        return Finding(path, f"{shown}: there is no window", "declare it: window: {size: 1h}")
    elif expression.space == "page" and not known.pages:
        return Finding(path, f"{shown}: there is no pagination", "declare it: pagination: {type: page}")
    elif expression.space == "item" and not known.item:
        return Finding(path, f"{shown}: an item is known only in the requests of `children`", "move it there")
    elif expression.space == "request":
        return Finding(path, f"{shown}: the request is known only in the claims of auth: {{type: jwt}}")
    return None


def _elsewhere(path: Path, expression: Expression, known: Known, shown: str) -> Finding | None:
    """Return what is wrong with an expression that a stream has not, or has elsewhere."""
    space = expression.space
    if space == "cursor" and known.of == "gap":
        message = f"{shown}: a cursor goes on with the new connection while a gap is asked for"
        return Finding(path, message, "use ${{ window.start }} and ${{ window.end }}")
    if space == "window" and not known.window:
        hint = "leave it out; it is for gap.backfill, which asks for the time without a connection"
        return Finding(path, f"{shown}: a stream has no window", hint)
    if space == "page" and not known.pages and known.of == "stream":
        return Finding(
            path, f"{shown}: a stream has no pages", "leave it out; the requests of gap.backfill may have some"
        )
    if space == "item" and known.of == "gap":
        return Finding(path, f"{shown}: a gap has no item", "use ${{ window.start }} and ${{ window.end }}")
    if space == "item" and not known.item:
        where = "what comes is known only in websocket_config.answers"
        return Finding(path, f"{shown}: {where}", "use a cursor, which takes a value out of what has come")
    return None


def _check_pages(
    pagination: PaginationOptions,
    parts: Parts,
    cursors: Mapping[str, CursorOptions],
    asked: Iterable[tuple[str, str]],
) -> Iterator[Finding]:
    named = {name for space, name in asked if space == "page"}
    if pagination.type == "cursor" and pagination.param is None and "token" not in named:
        hint = "name a parameter: param: cursor; or write ${{ page.token }} into the request"
        yield Finding(("pagination",), "nothing says where the token of the next page goes", hint)
    for option in ("param", "size_param"):
        slot = getattr(pagination, option)
        if slot is not None and (wrong := _misplaced(slot, parts)):
            yield Finding(("pagination", option), wrong)
    yield from _check_stop(pagination, cursors)


def _counts_items(pagination: PaginationOptions) -> bool:
    """Return whether the end of pages is told by their items alone."""
    if pagination.last is not None:
        return True
    told = (pagination.pages, pagination.has_more, pagination.end)
    return pagination.type in {"page", "offset"} and all(it is None for it in told)


def _misplaced(slot: Slot, parts: Parts) -> str:
    """Return why a value of a page cannot go where it is to go, empty when it can."""
    if slot.param or slot.header:
        return ""
    if parts.form is not None:
        return f"{slot} leads into a field of a form, which has no inside" if len(slot.pointer.steps) > 1 else ""
    try:
        tree_of(parts.body)
    except ValueError as error:
        return str(error)
    return ""


def _check_stop(pagination: PaginationOptions, cursors: Mapping[str, CursorOptions]) -> Iterator[Finding]:
    if pagination.stop_at is not None:
        options = cursors.get(pagination.stop_at)
        if options is None:
            near = nearest(pagination.stop_at, list(cursors)) or "declare it under cursor"
            yield Finding(("pagination", "stop_at"), f"there is no cursor {pagination.stop_at!r}", near)
        elif options.where != "item" or options.taken not in {"max", "min"}:
            message = f"the cursor {pagination.stop_at} is not the largest or the smallest of items"
            yield Finding(("pagination", "stop_at"), message)
