"""Owns texts with expressions in them, `${{ cursor.updated | iso }}`: parsed once, rendered for each request. Pure.

Only texts of the configuration are parsed, and only where its reader found expressions (`core.secret.Text.spans`): what
a secret or an answer holds is put in as it is, escaped for its place, and never read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec

from headwater.core.errors import RequestError
from headwater.core.expression import (
    Encoded,
    Expression,
    evaluate,
    filtered,
    json_of,
    look_up,
    parse_expression,
    text_of,
)
from headwater.core.secret import Text

# Where a value goes: into a path of a URL, a parameter, a header, a form; into a body of JSON (as a value, or within a
# text), of XML, or of no known kind.
Where = Literal["url", "query", "header", "form", "json", "json-text", "xml", "text"]
Scope = Mapping[str, Any]

EXPRESSION: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_UNFIT_FOR_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# No request needs more, and an answer could say anything (characters).
_LONGEST_VALUE: Final = 1024 * 1024


class Hole(NamedTuple):
    """An expression in a text, and its place where that is not the same for the whole text."""

    expression: Expression
    where: Where | None = None


Piece = tuple[str, str] | Hole


class Template:
    """A text with expressions: `pieces` of what stands around them, real and shown, and of expressions.

    `parts` are the secrets in it, `expressions` what it asks for. `static` is the text itself when it asks for nothing.
    What became of a value is remembered for when it comes again, as most do from one page to the next.
    """

    __slots__ = ("_holes", "_known", "_real", "_shown", "expressions", "parts", "pieces", "static")

    def __init__(self, pieces: tuple[Piece, ...], parts: tuple[str, ...] = ()) -> None:
        self.pieces = pieces
        self.parts = parts
        self.expressions = tuple(piece.expression for piece in pieces if isinstance(piece, Hole))
        around = [piece for piece in pieces if not isinstance(piece, Hole)]
        whole = Text("".join(real for real, _ in around), "".join(shown for _, shown in around), parts)
        self.static = None if self.expressions else whole
        # The text with gaps, as it is and, where that is not the same, as it is shown.
        self._real = [piece[0] if not isinstance(piece, Hole) else "" for piece in pieces]
        self._shown = [piece[1] if not isinstance(piece, Hole) else "" for piece in pieces] if whole.secret else None
        self._holes = tuple((place, piece) for place, piece in enumerate(pieces) if isinstance(piece, Hole))
        # By the places of expressions among the pieces: the value, where it was put, and the text that it became.
        self._known: dict[int, tuple[Any, Where, str]] = {}

    @classmethod
    def parse(cls, text: Text) -> Template:
        """Parse a text of the configuration. Raises ExpressionError."""
        return cls(_pieces(text), text.parts)

    @property
    def whole(self) -> Expression | None:
        """The expression that is the whole text, None when there is more or less."""
        return self.expressions[0] if len(self.pieces) == 1 and self.expressions else None

    def encoded(self, change: Callable[[str], str]) -> Template:
        """Return the template with what stands around its expressions changed, as it goes over the wire."""
        pieces = tuple(it if isinstance(it, Hole) else (change(it[0]), it[1]) for it in self.pieces)
        return Template(pieces, self.parts)

    def render(self, scope: Scope, where: Where) -> Text:
        """Put the values in, each escaped for its place. Raises RequestError when one is missing or does not fit."""
        if self.static is not None:
            return self.static
        real = self._real.copy()
        for place, hole in self._holes:
            real[place] = self._text(place, hole, scope, where)
        if self._shown is None:
            return Text("".join(real), None, self.parts)
        shown = self._shown.copy()
        for place, _ in self._holes:
            shown[place] = real[place]
        return Text("".join(real), "".join(shown), self.parts)

    def _text(self, number: int, hole: Hole, scope: Scope, where: Where) -> str:
        """Return what an expression becomes in its place."""
        expression, place = hole.expression, hole.where or where
        value = look_up(expression, scope)
        known = self._known.get(number)
        if known is not None and known[1] is place and _same(known[0], value):
            return known[2]
        found = filtered(expression, value)
        if found is None and not (place == "json" and may_be_left_out(expression)):
            raise _missing(expression)
        text = _placed(found, place, expression)
        self._known[number] = value, place, text
        return text

    def render_optional(self, scope: Scope, where: Where) -> Text | None:
        """Put the values in; None when the text is one expression that may be left out and has no value."""
        if self.static is None and len(self.pieces) == 1:
            whole = self.expressions[0]
            if look_up(whole, scope) is None and may_be_left_out(whole) and evaluate(whole, scope) is None:
                return None
        return self.render(scope, where)


def _same(one: Any, other: Any) -> bool:
    """Return whether a value is certainly the one that it is compared with."""
    if one is other:
        return not isinstance(one, dict | list)
    kind = type(one)
    return kind is type(other) and (kind is str or kind is int) and bool(one == other)


def may_be_left_out(expression: Expression) -> bool:
    """Return whether an expression without a value is left out with what holds it: no token on the first page."""
    return expression.has_default or (expression.space == "page" and expression.name == "token")


def _pieces(text: Text) -> tuple[Piece, ...]:
    value = text.reveal()
    # What is shown has the same expressions; what stands around them may be masked.
    shown = EXPRESSION.split(str(text))[::2] if text.spans else [str(text)]
    assert len(shown) == len(text.spans) + 1, "an expression stands where it cannot be told from what is masked"
    pieces: list[Piece] = []
    position = 0
    for (start, end), around in zip(text.spans, shown, strict=False):
        if start > position or around:
            pieces.append((value[position:start], around))
        pieces.append(Hole(parse_expression(value[start + 3 : end - 2])))
        position = end
    if position < len(value) or not pieces:
        pieces.append((value[position:], shown[-1]))
    return tuple(pieces)


def _missing(expression: Expression) -> RequestError:
    reason = {
        "cursor": "nothing was gathered for it yet",
        "page": "this page has none",
        "item": "the item has none",
    }.get(expression.space, "there is none")
    hint = f"give it a default: ${{{{ {expression.source} | default('...') }}}}"
    if expression.space == "cursor":
        hint = f"give the cursor an `initial`, or the expression a default: {expression.source} | default('...')"
    return RequestError(f"${{{{ {expression.source} }}}} has no value: {reason}", hint=hint)


def _placed(value: Any, where: Where, expression: Expression) -> str:
    """Return a value as it stands in its place."""
    if where == "json":
        text = json_of(value)
    else:
        text = text_of(value)
        if where in {"url", "query"}:
            text = text if isinstance(value, Encoded) else quote(text, safe="")
        elif where == "form":
            text = text if isinstance(value, Encoded) else quote_plus(text)
        elif where == "json-text":
            text = msgspec.json.encode(str(text)).decode()[1:-1]
        elif where == "xml":
            text = escape(text)
        elif where == "header" and _UNFIT_FOR_HEADERS.search(text):
            raise RequestError(
                f"the value of ${{{{ {expression.source} }}}} holds a line break or another control character, "
                "which no header can",
                hint=f"encode it: {expression.source} | url",
            )
    if len(text) > _LONGEST_VALUE:
        raise RequestError(f"the value of ${{{{ {expression.source} }}}} is longer than {_LONGEST_VALUE} characters")
    return text


def body_template(text: Text, kind: str) -> Template:
    """Parse a text that is a whole body. `kind` is its media type where one is known.

    A body of JSON is told by its first sign as well: within its texts values are escaped, elsewhere they are JSON.
    """
    template = Template.parse(text)
    where: Where = "text"
    first = text.reveal().lstrip()[:1]
    if "json" in kind or (not kind and first in {"{", "["}):
        return Template(tuple(_within_json(template.pieces)), template.parts)
    if kind == "application/x-www-form-urlencoded":
        where = "form"
    elif "xml" in kind or (not kind and first == "<"):
        where = "xml"
    pieces = tuple(Hole(it.expression, where) if isinstance(it, Hole) else it for it in template.pieces)
    return Template(pieces, template.parts)


def _within_json(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    """Say of each expression whether it stands within a text."""
    inside = False
    for piece in pieces:
        if isinstance(piece, Hole):
            yield Hole(piece.expression, "json-text" if inside else "json")
            continue
        if re.sub(r"\\.", "", piece[0], flags=re.DOTALL).count('"') % 2:
            inside = not inside
        yield piece


def json_template(value: Any) -> Template:
    """Make the template of a map or a list that is sent as JSON.

    A text of it that is one expression and nothing else becomes the value itself, of whatever kind it is.
    """
    pieces: list[Piece] = []
    parts: list[str] = []
    for piece in _as_json(value, parts):
        last = pieces[-1] if pieces else None
        if not (isinstance(piece, Hole) or last is None or isinstance(last, Hole)):
            pieces[-1] = (last[0] + piece[0], last[1] + piece[1])
        else:
            pieces.append(piece)
    return Template(tuple(pieces), tuple(parts))


def _as_json(value: Any, parts: list[str]) -> Iterator[Piece]:
    if isinstance(value, dict):
        opening = "{"
        for name, inner in value.items():
            key = f"{opening}{msgspec.json.encode(str(name)).decode()}:"
            yield key, key
            yield from _as_json(inner, parts)
            opening = ","
        end = "}" if value else "{}"
        yield end, end
    elif isinstance(value, list | tuple):
        opening = "["
        for inner in value:
            yield opening, opening
            yield from _as_json(inner, parts)
            opening = ","
        end = "]" if value else "[]"
        yield end, end
    elif isinstance(value, Text):
        parts += value.parts
        template = Template.parse(value)
        if template.whole is not None:
            yield Hole(template.whole, "json")
            return
        yield '"', '"'
        for piece in template.pieces:
            if isinstance(piece, Hole):
                yield Hole(piece.expression, "json-text")
            else:
                yield _escaped(piece[0]), _escaped(piece[1])
        yield '"', '"'
    else:
        text = msgspec.json.encode(value).decode()
        yield text, text


def _escaped(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]
