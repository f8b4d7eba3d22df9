"""Owns requests whose texts have expressions, or that ask for one page of several. Pure.

Where the values come from is the course's: it gives a scope. What every request of a connector has in common - method,
times, bounds - is in the request that this is made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus, urlsplit

import msgspec

from headwater.config.parts import Pairs, Parts, expression_text, tree_of
from headwater.core.empty import NO_NAMES
from headwater.core.errors import RequestError
from headwater.core.http import Headers, Request, ascii_url
from headwater.core.origin import origin, pairs_of, stripped, without_secrets
from headwater.core.paging import Asked
from headwater.core.secret import MASK, Masker, Text
from headwater.core.spot import Slot
from headwater.core.template import Hole, Scope, Template, body_template, json_template
from headwater.sources.following import PaginationError, resolve
from headwater.sources.pages import ONE_PAGE, Plan, State

# What stays in a URL as it is; what is encoded already stays, too.
_URL: Final = "!#$%&'()*+,/:;=?@[]~"
_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
# Steps of a path that lead upwards or nowhere, and empty ones.
_ODD: Final = re.compile(r"/(?:\.|%2[eE]){0,2}(?=[/?#]|$)")
_OF_THE_BODY: Final = frozenset({"content-type", "content-encoding", "content-language"})
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class _Variant(msgspec.Struct):
    """The templates of a request with or without what asks for a page."""

    endpoint: Template
    params: list[tuple[str, Template]]
    headers: list[tuple[str, Template]]
    body: Template | None
    form: list[tuple[str, Template]] | None


class Requester:
    """Makes the requests of one configuration. `base` has what they have in common, `masker` what must not be shown.

    Without anything to put in it returns `base` itself, always: the fetch engine keeps what it set up for a request.
    With `items` requests are about the items of another answer, for which `base` is only where they come from: the
    endpoint may be an expression that is the whole URL.
    """

    __slots__ = (
        "_base",
        "_beside",
        "_common",
        "_endpoint",
        "_masker",
        "_odd",
        "_parts",
        "_secret_body",
        "_unknown",
        "_variants",
        "_whole",
        "asked",
        "origin",
        "spaces",
    )

    def __init__(self, parts: Parts, base: Request, masker: Masker, *, items: bool = False) -> None:
        self._parts = parts
        self._base = base
        self._masker = masker
        self._variants: dict[tuple[Plan, bool], _Variant] = {}
        endpoint = Template.parse(parts.endpoint)
        # An expression that is the whole URL is one that an item names.
        self._whole = endpoint.whole is not None
        self._endpoint = endpoint if self._whole else _absolute(endpoint, authority_of(parts.endpoint.reveal()))
        self.origin = origin(base.url)
        plain = parts.endpoint.plain()
        self.asked = Asked(
            base.method,
            dict(parse_qsl(urlsplit(plain).query, keep_blank_values=True))
            | {name: text.plain() for name, text in parts.params},
            parts.body if isinstance(parts.body, dict) else None,
        )
        texts = [text for _, text in parts.texts()]
        found = (expression.space for text in texts if text.spans for expression in Template.parse(text).expressions)
        self.spaces = frozenset(found) or NO_NAMES
        # Credentials in the URL, and those of them that the parts know nothing of.
        self._beside = tuple(
            (name, f"{name}={value}")
            for name, value in pairs_of(urlsplit(base.url).query)
            if unquote_plus(name) in base.secret_params and value is not None
        )
        self._unknown = tuple(it for it in self._beside if unquote_plus(it[0]) not in self.asked.params)
        self._common = self._headers_beside()
        self._odd = len(_ODD.findall(plain if "/" in plain.partition("://")[2] else f"{plain}/"))
        inside = [text for path, text in parts.texts() if path[0] in {"body", "form"}]
        self._secret_body = any(text.secret for text in inside)
        if self.plain and (items or not _is_text(parts.body if parts.form is None else {})):
            variant = self._variant(ONE_PAGE, {})
            self._base = msgspec.structs.replace(base, headers=self._headers(variant, {}), body=self._body(variant, {}))
            if items:
                url, shown = self._url(variant, {}, "")
                self._base = msgspec.structs.replace(self._base, url=url, shown_url=shown)

    @property
    def plain(self) -> bool:
        """Whether every request is the same, as long as there are no pages."""
        return not self.spaces

    def _headers_beside(self) -> Headers:
        """Return the headers that the configuration does not name: the base's own, and the type of the body."""
        given = {name.lower() for name, _ in self._parts.headers}
        beside = [(name, value) for name, value in self._base.headers if name.lower() not in given]
        kind = FORM if self._parts.form is not None else None if _is_text(self._parts.body) else JSON
        if kind is not None and not given & {"content-type"}:
            beside = [(name, value) for name, value in beside if name.lower() != "content-type"]
            beside.append(("Content-Type", kind))
        return tuple(beside)

    def request(self, scope: Scope, plan: Plan = ONE_PAGE, state: State | None = None, *, at: str = "") -> Request:
        """Return the request for a page. Raises RequestError for values that are missing or do not fit.

        `at` is where an answer came from that names the whole URL.
        """
        state = state or {}
        if plan.type in {"link", "next-url"} and "url" in state:
            return self._of_url(str(state["url"]), scope, plan)
        if self.plain and not plan.numbered and "token" not in state and plan.size_param is None:
            return self._base
        variant = self._variant(plan, state)
        url, shown = self._url(variant, scope, at)
        return msgspec.structs.replace(
            self._base,
            url=url,
            shown_url=shown,
            headers=self._headers(variant, scope),
            body=self._body(variant, scope),
        )

    def _of_url(self, url: str, scope: Scope, plan: Plan) -> Request:
        """Return the request for a page whose URL an answer has named. Another origin gets no credentials."""
        variant = self._variant(plan, {})
        headers, body = self._headers(variant, scope), self._body(variant, scope)
        foreign = origin(url) != self.origin
        if foreign and self._secret_body and body is not None:
            raise RequestError(
                "the next page is at another origin, and the body of the request holds a secret",
                hint="ask for the pages at the endpoint's own origin",
            )
        shown = shown_url(url, self._masker)
        if not foreign:
            url, shown = self._with_secrets(url, shown)
        request = msgspec.structs.replace(self._base, url=url, shown_url=shown, headers=headers, body=body)
        # `base` still has the secrets that are not to go there.
        return stripped(request, without_secrets(url, self._base)) if foreign else request

    def _url(self, variant: _Variant, scope: Scope, at: str) -> tuple[str, str]:
        if self._whole:
            url, shown = self._named(variant, scope, at)
        else:
            rendered = variant.endpoint.render(scope, "url")
            url, shown = rendered.reveal(), str(rendered)
            if self._endpoint.expressions:
                self._check_path(url)
        for name, template in variant.params:
            value = template.render_optional(scope, "query")
            if value is not None:
                sign = "&" if "?" in url else "?"
                url = f"{url}{sign}{name}={value.reveal()}"
                shown = f"{shown}{'&' if '?' in shown else '?'}{name}={value}"
        return self._with_secrets(url, shown) if self._unknown else (url, shown)

    def _with_secrets(self, url: str, shown: str) -> tuple[str, str]:
        """Add the credentials to a URL of the endpoint's origin that it does not have yet."""
        there = {unquote_plus(name) for name, _ in pairs_of(urlsplit(url).query)}
        for name, pair in self._beside:
            if unquote_plus(name) not in there:
                url = f"{url}{'&' if '?' in url else '?'}{pair}"
                shown = f"{shown}{'&' if '?' in shown else '?'}{name}={MASK}"
        return url, shown

    def _named(self, variant: _Variant, scope: Scope, at: str) -> tuple[str, str]:
        """Return the URL that an item names."""
        target = variant.endpoint.render(scope, "text").reveal()
        try:
            url = resolve(target, at or self._base.url, self.origin, foreign=False, among="the item")
        except PaginationError as error:
            raise RequestError(str(error), hint="take a part of the URL from the item, such as its id") from error
        return url, shown_url(url, self._masker)

    def _check_path(self, url: str) -> None:
        """Raise RequestError when a value has become a step of the path that leads upwards, or none at all."""
        odd = _ODD.findall(url)
        if len(odd) <= self._odd:
            return
        path = urlsplit(url).path[:200]
        if any(len(step) > 1 for step in odd):
            hint = "check what the expression takes"
            raise RequestError(f"a value in the path of the URL would lead elsewhere: {path!r}", hint=hint)
        raise RequestError(f"a value in the path of the URL is empty: {path!r}", hint="give it a default")

    def _headers(self, variant: _Variant, scope: Scope) -> Headers:
        rendered = [
            (name, value.reveal())
            for name, template in variant.headers
            if (value := template.render_optional(scope, "header")) is not None
        ]
        return (*self._common, *rendered)

    def _body(self, variant: _Variant, scope: Scope) -> bytes | None:
        if variant.form is not None:
            pairs = [
                f"{name}={value.reveal()}"
                for name, template in variant.form
                if (value := template.render_optional(scope, "form")) is not None
            ]
            return "&".join(pairs).encode()
        return None if variant.body is None else variant.body.render(scope, "text").reveal().encode()

    def _variant(self, plan: Plan, state: State) -> _Variant:
        asks = plan.numbered or "token" in state
        found = self._variants.get((plan, asks))
        if found is None:
            if len(self._variants) > 32:
                self._variants.clear()
            found = self._variants[plan, asks] = self._made(plan, asks=asks)
        return found

    def _without(self, params: Mapping[str, str]) -> Template:
        """Return the endpoint without parameters of its query that are said for each page."""
        static = self._endpoint.static
        if static is None or not params:
            return self._endpoint
        real, shown = static.reveal(), str(static)
        for name in params:
            pair = re.compile(rf"(?<=[?&]){re.escape(quote(name, safe=_URL))}=[^&]*(&|$)")
            real, shown = pair.sub("", real), pair.sub("", shown)
        return Template(((real.rstrip("?&"), shown.rstrip("?&")),), static.parts)

    def _made(self, plan: Plan, *, asks: bool) -> _Variant:
        """Put the expressions for a page where the configuration wants them."""
        slots: dict[Slot, str] = {}
        if plan.param is not None and asks:
            slots[plan.param] = {"page": "page.number", "offset": "page.offset"}.get(plan.type, "page.token")
        if plan.size_param is not None:
            slots[plan.size_param] = "page.size"
        parts = self._parts
        params = {slot.param: name for slot, name in slots.items() if slot.param}
        headers = {slot.header.lower(): (slot.header, name) for slot, name in slots.items() if slot.header}
        inner = {slot.pointer.steps: name for slot, name in slots.items() if not slot.param and not slot.header}
        body: Any = parts.body
        form = parts.form
        if inner and form is not None:
            names = {steps[0]: name for steps, name in inner.items()}
            form = (
                *((name, text) for name, text in form if name not in names),
                *((name, expression_text(it)) for name, it in names.items()),
            )
        elif inner:
            body = tree_of(body)
            for steps, name in inner.items():
                body = _with(body, steps, expression_text(name))
        kind = next((text.plain() for name, text in parts.headers if name.lower() == "content-type"), "")
        return _Variant(
            self._without(params),
            [
                (quote(name, safe=""), Template.parse(text).encoded(_encode_value))
                for name, text in _replaced(parts.params, params)
            ],
            [
                *((name, Template.parse(text)) for name, text in parts.headers if name.lower() not in headers),
                *((name, Template.parse(expression_text(it))) for name, it in headers.values()),
            ],
            body_of(body, kind),
            None
            if form is None
            else [(quote_plus(name), Template.parse(text).encoded(quote_plus)) for name, text in form],
        )


def _is_text(body: Any) -> bool:
    return body is None or isinstance(body, Text)


def body_of(body: Any, kind: str) -> Template | None:
    """Return the template of a body of the media type `kind`, None for none."""
    if body is None:
        return None
    return (
        body_template(body, kind.partition(";")[0].strip().lower()) if isinstance(body, Text) else json_template(body)
    )


def _with(tree: Any, steps: tuple[str, ...], value: Text) -> Any:
    """Return a tree with a value in one place, made where it was not there."""
    if not steps:
        return value
    if isinstance(tree, list):
        index = int(steps[0]) if steps[0].isdigit() else len(tree)
        return [_with(it, steps[1:], value) if place == index else it for place, it in enumerate(tree)]
    known = tree if isinstance(tree, Mapping) else {}
    return {**known, steps[0]: _with(known.get(steps[0]), steps[1:], value)}


def _replaced(params: Pairs, by: Mapping[str, str]) -> list[tuple[str, Text]]:
    """Return parameters with those of pages in the place of others of their name, or behind them."""
    left = dict(by)
    replaced = []
    for name, text in params:
        if name not in by:
            replaced.append((name, text))
        elif name in left:
            replaced.append((name, expression_text(left.pop(name))))
    return [*replaced, *((name, expression_text(it)) for name, it in left.items())]


def _encode(text: str) -> str:
    return quote(text, safe=_URL)


def _encode_value(text: str) -> str:
    return quote(text, safe="")


def authority_of(url: str) -> str:
    """Return a URL up to its path."""
    match = _AUTHORITY.match(url)
    assert match is not None, "it was checked when it was read"
    return match[0]


def _absolute(endpoint: Template, prefix: str) -> Template:
    """Return an endpoint's template as it goes over the wire: the host in ASCII, the rest encoded, no fragment."""
    pieces: list[tuple[str, str] | Hole] = []
    for place, piece in enumerate(endpoint.pieces):
        if isinstance(piece, Hole):
            pieces.append(piece)
            continue
        real, shown = piece
        rest = real[len(prefix) :] if place == 0 else real
        rest, fragment, _ = rest.partition("#")
        if place == 0:
            root = "" if rest.startswith("/") else "/"
            # The authority alone: what follows it is encoded piece by piece.
            rest = f"{ascii_url(prefix)}{root}{_encode(rest)}"
            if root and (cut := _AUTHORITY.match(shown)):
                shown = f"{cut[0]}/{shown[cut.end() :]}"
        else:
            rest = _encode(rest)
        pieces.append((rest, shown.partition("#")[0]))
        if fragment:
            break
    return Template(tuple(pieces), endpoint.parts)


def shown_url(url: str, masker: Masker) -> str:
    """Return a URL for people: without the configuration's secrets, and what an answer put in that looks like one."""
    shown = masker.mask(url) if masker else url
    return _CREDENTIAL.sub(rf"\g<1>{MASK}", shown)


# Names under which APIs take credentials in URLs, and put them into the next ones.
_CREDENTIAL: Final = re.compile(
    r"([?&](?:[^=&#]*(?:api[-_]?key|access[-_]?token|auth[-_]?token|secret|signature|password|passwd)|key|sig|token)=)"
    r"[^&#]+",
    re.IGNORECASE,
)
