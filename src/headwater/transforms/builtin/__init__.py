"""Owns the table of the transforms that come with Headwater, by the names that users of Fluvio know."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headwater.core.errors import SmartModuleError
from headwater.transforms.python import PythonModule
from headwater.transforms.store import Reference

# group/name -> (module in this package, what it has there, one line of help). A name without its group is enough.
BUILTINS: dict[str, tuple[str, str, str]] = {
    "infinyon/jolt": ("jolt", "jolt", "restructure JSON: shift, default, remove"),
    "infinyon/regex-filter": ("text", "regex_filter", "keep values that match a regular expression"),
    "infinyon/jaq": ("text", "jaq", "a program in the jq language"),
    "infinyon/json-sql": ("sql", "json_sql", "JSON to the insert and upsert model of Fluvio's SQL sinks"),
    "infinyon-labs/array-map-json": ("text", "array_map_json", "one record for each element of a JSON array"),
    "infinyon-labs/dedup-filter": ("dedup", "Deduplicator", "drop records that were there before"),
    "infinyon-labs/rss-json": ("rss", "rss_json", "an RSS feed to JSON"),
}


def find_builtin(reference: Reference) -> Any:
    """Return what makes the stages of a built-in transform, None when there is none of that name.

    Every version means the same one. Raises SmartModuleError when the library that it needs is not installed.
    """
    for name, (module, attribute, _) in BUILTINS.items():
        group, _, short = name.partition("/")
        if reference.name == short and reference.group in {None, group}:
            try:
                found = getattr(import_module(f"headwater.transforms.builtin.{module}"), attribute)
            except ImportError as error:
                raise SmartModuleError(
                    f"{name} needs the package {error.name!r}", hint="install it with pip"
                ) from error
            return found() if isinstance(found, type) else PythonModule(found, name)
    return None
