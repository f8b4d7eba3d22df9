"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) as whoever reads a change log applies them."""

from __future__ import annotations

import copy
from typing import Any


def apply_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply add, remove and replace, with the errors that RFC 6902 asks for."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert set(operation) == ({"op", "path"} if operation["op"] == "remove" else {"op", "path", "value"})
        if operation["path"] == "":
            assert operation["op"] in {"add", "replace"}
            document = operation["value"]
            continue
        assert operation["path"].startswith("/")
        steps = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"][1:].split("/")]
        place = document
        for step in steps[:-1]:
            place = place[int(step)] if isinstance(place, list) else place[step]
        _change(place, steps[-1], operation)
    return document


def _change(place: Any, last: str, operation: dict[str, Any]) -> None:
    if isinstance(place, list):
        index = int(last)
        if operation["op"] == "add":
            assert index <= len(place)
            place.insert(index, operation["value"])
        else:
            assert index < len(place)
            if operation["op"] == "remove":
                del place[index]
            else:
                place[index] = operation["value"]
    elif operation["op"] == "add":
        place[last] = operation["value"]
    else:
        assert last in place, "what is removed or replaced must be there"
        if operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]


def apply_merge(document: Any, patch: Any) -> Any:
    """Apply a merge patch, as the pseudo-code of RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    made = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = apply_merge(made.get(name), value)
    return made
