"""Owns the making of an example from a JSON Schema, as OpenAPI documents have them. Bounded, whatever they refer to."""

from __future__ import annotations

from typing import Any, Final

_DEEPEST: Final = 8
_MOST_MEMBERS: Final = 60
_MOST_VALUES: Final = 3000
_FORMATS: Final = {
    "date-time": "2024-01-0{}T00:00:00Z",
    "date": "2024-01-0{}",
    "uuid": "00000000-0000-4000-8000-00000000000{}",
    "uri": "https://example.com/{}",
    "url": "https://example.com/{}",
    "email": "user{}@example.com",
}


class Schemas:
    """A document that references lead around in."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def follow(self, value: Any) -> Any:
        """Return what a reference leads to, or the value itself; None where it leads nowhere, or in circles."""
        for _ in range(20):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value
            value = self._find(value["$ref"])
        return None

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            return None
        found = self._document
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return None
            found = found[name]
        return found


def sample_of(schema: Any, schemas: Schemas, *, count: int) -> Any:
    """Return an example of a schema, with `count` different items in each array; None where there is none."""
    return _Making(schemas, count).value(schema, "", 1, 0)


class _Making:
    """Makes one example, within bounds."""

    def __init__(self, schemas: Schemas, count: int) -> None:
        self._schemas = schemas
        self._count = count
        self._left = _MOST_VALUES

    def value(self, schema: Any, name: str, number: int, depth: int) -> Any:
        schema = self._schemas.follow(schema)
        self._left -= 1
        if not isinstance(schema, dict) or depth > _DEEPEST or self._left < 0:
            return None
        schema = self._whole(schema)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((it for it in kind if it != "null"), None)
        example = schema.get("example", schema.get("default"))
        examples = schema.get("examples")
        if example is None and isinstance(examples, list) and examples:
            example = examples[0]
        if kind == "array" or "items" in schema:
            if isinstance(example, list) and len(example) > 1:
                return example
            items = [self.value(schema.get("items"), name, each + 1, depth + 1) for each in range(self._count)]
            return [item for item in items if item is not None]
        if kind == "object" or isinstance(schema.get("properties"), dict):
            return self._object(schema, number, depth)
        return self._scalar(schema, kind, example, name, number)

    def _object(self, schema: dict[str, Any], number: int, depth: int) -> dict[str, Any]:
        members = {}
        properties = schema.get("properties")
        for key, below in list((properties if isinstance(properties, dict) else {}).items())[:_MOST_MEMBERS]:
            value = self.value(below, str(key), number, depth + 1)
            if value is not None:
                members[str(key)] = value
        return members

    def _whole(self, schema: dict[str, Any], depth: int = 0) -> dict[str, Any]:
        """Return a schema with what it is made of put together: all of allOf, the first of the others."""
        parts = [schema.get("allOf"), [next(iter(schema.get(it) or ()), None) for it in ("oneOf", "anyOf")]]
        whole = dict(schema)
        for part in (it for listed in parts if isinstance(listed, list) for it in listed):
            found = self._schemas.follow(part)
            if not isinstance(found, dict) or self._left < 0:
                continue
            self._left -= 1
            if "allOf" in found and depth < _DEEPEST:
                found = self._whole({key: it for key, it in found.items() if key not in {"oneOf", "anyOf"}}, depth + 1)
            properties = {**(whole.get("properties") or {}), **(found.get("properties") or {})}
            whole = {**found, **whole}
            if properties:
                whole["properties"] = properties
        return whole

    @staticmethod
    def _scalar(schema: dict[str, Any], kind: Any, example: Any, name: str, number: int) -> Any:
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return choices[0]
        form = _FORMATS.get(str(schema.get("format", "")))
        if form is not None:
            return form.format(number % 10)
        if kind in {"integer", "number"}:
            given = example if isinstance(example, int) and not isinstance(example, bool) else 100
            # An example of an id is different in the next item.
            return given + number - 1
        if kind == "boolean":
            return bool(example) if example is not None else False
        if kind == "string" or isinstance(example, str):
            text = example if isinstance(example, str) else name
            return f"{text}-{number}" if number > 1 else text
        return None if isinstance(example, dict | list) else example
