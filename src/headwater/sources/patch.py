"""Owns what leads from one JSON document to another: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396). Pure.

Documents are those of `canonical.decode`, so that numbers keep their digits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.sources.canonical import same


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of a JSON Patch: add, replace or remove. A `remove` has no value."""

    op: str
    path: str
    value: Any = msgspec.UNSET


def json_patch(before: Any, after: Any) -> list[Operation]:
    """Return the operations that make `after` of `before`, each at the smallest place that differs.

    Of arrays what is equal at both ends stays; elements in between are compared one by one. Raises RecursionError for
    documents that are nested too deeply.
    """
    operations: list[Operation] = []
    _differ(operations, "", before, after)
    return operations


def _differ(operations: list[Operation], path: str, before: Any, after: Any) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            below = f"{path}/{_escaped(name)}"
            if name in after:
                _differ(operations, below, value, after[name])
            else:
                operations.append(Operation("remove", below))
        operations += [
            Operation("add", f"{path}/{_escaped(name)}", value) for name, value in after.items() if name not in before
        ]
    elif isinstance(before, list) and isinstance(after, list):
        _differ_in_elements(operations, path, before, after)
    elif not same(before, after):
        operations.append(Operation("replace", path, after))


def _differ_in_elements(operations: list[Operation], path: str, before: list[Any], after: list[Any]) -> None:
    start, shorter = 0, min(len(before), len(after))
    while start < shorter and same(before[start], after[start]):
        start += 1
    end = 0
    while end < shorter - start and same(before[-1 - end], after[-1 - end]):
        end += 1
    gone, come = len(before) - end, len(after) - end
    both = min(gone, come)
    for index in range(start, both):
        _differ(operations, f"{path}/{index}", before[index], after[index])
    # From behind, so that those before keep their places.
    operations += [Operation("remove", f"{path}/{index}") for index in range(gone - 1, both - 1, -1)]
    operations += [Operation("add", f"{path}/{index}", after[index]) for index in range(both, come)]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def merge_patch(before: Any, after: Any) -> Any:
    """Return the merge patch that makes `after` of `before`, or UNSET where there is none: none can set a null."""
    patch = _merge(before, after)
    return patch if same(merged(before, patch), after) else msgspec.UNSET


def _merge(before: Any, after: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before or not same(before[name], value):
            patch[name] = _merge(before.get(name), value)
    return patch


def merged(document: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a document (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made
