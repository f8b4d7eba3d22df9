"""Owns cutting elements out of XML by name or path, each with its own bytes, and their form as JSON.

Entities and external documents are never followed. Namespaces matter only where they are asked for.
"""

from __future__ import annotations

import re
from pyexpat import XML_PARAM_ENTITY_PARSING_NEVER, ExpatError, ParserCreate
from typing import Any

import msgspec

from headwater.core.selector import Selector
from headwater.sources.split.item import WINDOW, BrokenBodyError, Formed, Item, Large, too_large

# What is nested deeper nobody has written by hand or by program.
_MOST_DEPTH = 256
# A tag, a comment or text between elements may be so long (bytes).
_MOST_BETWEEN = 1024 * 1024
_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_DECLARED = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_JSON = msgspec.json.Encoder()


class _Node:
    """An element of which the form as JSON is made."""

    __slots__ = ("attributes", "children", "text")

    def __init__(self, attributes: dict[str, str]) -> None:
        self.attributes = {f"@{name}": value for name, value in attributes.items() if name.partition(":")[0] != "xmlns"}
        self.children: dict[str, Any] = {}
        self.text: list[str] = []

    def add(self, name: str, value: Any) -> None:
        known = self.children.get(name)
        if known is None and name not in self.children:
            self.children[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            self.children[name] = [known, value]

    def form(self) -> Any:
        """Return a text for an element with nothing else in it, else an object: `@attribute`s, children, `#text`."""
        text = "".join(self.text).strip()
        if not self.attributes and not self.children:
            return text
        return {**self.attributes, **self.children, **({"#text": text} if text else {})}


class MarkupSplitter:
    """Cuts the elements that a selector means out of XML; those within one of them are part of it.

    The document is UTF-8, whatever it says of itself. With `form` each element comes with its form as JSON, and with
    `as_json` it is that.
    """

    what = "element"
    rest: bytes | None = None
    missing = False

    def __init__(
        self,
        selector: Selector,
        max_item: int,
        *,
        form: bool = False,
        as_json: bool = False,
        window: int = WINDOW,
    ) -> None:
        self._selector = selector
        self._most = max_item
        self._window = window
        self._as_json = as_json
        self._forming = form or as_json
        self._chunks: list[bytes] = []
        self._waiting = 0
        # What the parser was given, from the place `_base` on, as far as it may still be needed.
        self._data = b""
        self._base = 0
        self._items: list[Item] = []
        # Open elements, their namespaces, and what their prefixes mean.
        self._path: list[str] = []
        self._spaces: list[str] = []
        self._scopes: list[dict[str, str]] = [{}]
        # The element that is being cut: where it begins, how deep it is, its form, its digest when it is too large.
        self._start: int | None = None
        self._depth = 0
        self._nodes: list[_Node] = []
        self._large: Large | None = None
        self._parser = parser = ParserCreate("utf-8")
        parser.buffer_text = True
        parser.SetParamEntityParsing(XML_PARAM_ENTITY_PARSING_NEVER)
        parser.EntityDeclHandler = _refuse_entity
        parser.ExternalEntityRefHandler = _refuse_entity
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the elements that they complete. Raises BrokenBodyError."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        return self._work(final=False) if self._waiting >= self._window else []

    def finish(self) -> list[Item]:
        """Take the end of the body. Raises BrokenBodyError."""
        return self._work(final=True)

    def _work(self, *, final: bool) -> list[Item]:
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        self._data += chunk
        try:
            self._parser.Parse(chunk, final)
        except ExpatError as error:
            raise BrokenBodyError(f"the body is not XML: {error}") from None
        self._trim()
        items, self._items = self._items, []
        return items

    def _trim(self) -> None:
        """Forget what is behind us, and of an element that is too large all but its digest."""
        now = self._parser.CurrentByteIndex
        if self._start is None:
            keep = now if now >= 0 else self._base
        elif len(self._data) - (self._start - self._base) > self._most + _MOST_BETWEEN or self._large is not None:
            if self._large is None:
                self._large = Large(self._most)
                self._drop(self._start)
                self._nodes.clear()
                self._parser.CharacterDataHandler = None
            self._large.add(self._data[: now - self._base])
            keep = now
        else:
            keep = self._start
        self._drop(keep)
        if len(self._data) > self._most + 2 * _MOST_BETWEEN:
            raise BrokenBodyError(
                f"the body has a piece of more than {self._most + _MOST_BETWEEN:,} bytes without an end"
            )

    def _drop(self, before: int) -> None:
        self._data = self._data[before - self._base :]
        self._base = before

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _MOST_DEPTH:
            raise BrokenBodyError(f"the body has elements that are nested more than {_MOST_DEPTH} deep")
        if self._selector.namespaces:
            self._scope(name, attributes)
        if self._start is None:
            if not self._selector.matches(self._path, self._spaces):
                return
            self._start = self._parser.CurrentByteIndex
            self._depth = len(self._path)
            if self._forming:
                self._parser.CharacterDataHandler = self._text
        if self._forming and self._large is None:
            self._nodes.append(_Node(attributes))

    def _scope(self, name: str, attributes: dict[str, str]) -> None:
        """Note what prefixes mean from here on, and the namespace of the element."""
        scope = self._scopes[-1]
        declared = {it.partition(":")[2]: uri for it, uri in attributes.items() if it.partition(":")[0] == "xmlns"}
        self._scopes.append({**scope, **declared} if declared else scope)
        prefix = name.rpartition(":")[0]
        self._spaces.append(self._scopes[-1].get(prefix, ""))

    def _text(self, text: str) -> None:
        self._nodes[-1].text.append(text)

    def _end(self, name: str) -> None:
        if self._start is not None:
            if self._forming and self._large is None and len(self._path) > self._depth:
                node = self._nodes.pop()
                self._nodes[-1].add(name, node.form())
            elif len(self._path) == self._depth:
                self._items.append(self._cut())
        self._path.pop()
        if self._spaces:
            self._spaces.pop()
            self._scopes.pop()

    def _cut(self) -> Item:
        """Return the element that ends here."""
        assert self._start is not None
        at = self._parser.CurrentByteIndex - self._base
        self._parser.CharacterDataHandler = None
        nodes, self._nodes = self._nodes, []
        start, self._start = self._start - self._base, None
        if self._large is not None:
            end = self._data.index(b">", at) + 1
            self._large.add(self._data[:end])
            large, self._large = self._large.end(), None
            self._drop(self._base + end)
            return large
        first = _TAG.match(self._data, start)
        assert first is not None
        # Expat tells of the end before the end tag, but behind the tag of an element that has only one.
        alone = first.end() == at and self._data[at - 2 : at] == b"/>"
        data = self._data[start : at if alone else self._data.index(b">", at) + 1]
        if len(data) > self._most:
            return too_large(data, self._most)
        if not self._forming:
            return data
        form = _JSON.encode(nodes[0].form())
        return form if self._as_json else Formed(data, form)


def _refuse_entity(*_: object) -> int:
    raise BrokenBodyError("the body declares entities of its own or refers to other documents, which is refused")


def declared_charset(head: bytes) -> str:
    """Return the charset that the beginning of an XML document, without a mark, says it is in; empty for none."""
    if head.startswith((b"<\0", b"\0<")):
        return "utf-16-le" if head.startswith(b"<\0") else "utf-16-be"
    declared = _DECLARED.match(head.lstrip())
    return declared[1].decode().lower() if declared else ""
