"""Owns the transform of JSON into the model of Fluvio's SQL sinks: the columns of a row, as texts with types."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.core.record import Record
from headwater.transforms.python import smartmodule

_ABSENT = object()
# As the mapping names types -> as the model does.
_TYPES = {
    name: model
    for model, names in {
        "BigInt": ("int8", "bigint"),
        "Int": ("int4", "int", "integer"),
        "SmallInt": ("int2", "smallint"),
        "Bool": ("bool", "boolean"),
        "Bytes": ("bytes", "bytea"),
        "Text": ("text",),
        "Float": ("float4", "float", "real"),
        "DoublePrecision": ("float8", "double precision", "doubleprecision"),
        "Numeric": ("decimal", "numeric"),
        "Date": ("date",),
        "Time": ("time",),
        "Timestamp": ("timestamp",),
        "Json": ("json", "jsonb"),
        "Uuid": ("uuid",),
    }.items()
    for name in names
}


class ColumnValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a column gets: a type, what stands for a missing value, and whether one must be there."""

    type: str = "text"
    default: str | int | float | None = None
    required: bool = False

    def __post_init__(self) -> None:
        """Refuse a type that the model does not have."""
        if self.type.lower() not in _TYPES:
            raise ValueError(f"there is no type {self.type!r}; there are {', '.join(_TYPES)}")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Where a column's value stands in the JSON: names joined by dots, or `$` for the whole."""

    json_key: str | None = None
    value: ColumnValue = ColumnValue()
    snake_key: str | None = msgspec.field(default=None, name="json_key")

    def __post_init__(self) -> None:
        """Refuse a column that comes from nowhere."""
        if self.json_key is None and self.snake_key is None:
            raise ValueError("a column needs a json-key")

    @property
    def path(self) -> str:
        """The place in the JSON, in whichever of its spellings it was given."""
        return self.json_key if self.json_key is not None else self.snake_key or ""


class SqlMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A table and its columns."""

    table: str
    map_columns: dict[str, Column] = {}
    columns: dict[str, Column] = {}
    operation: str = "insert"
    unique_columns: list[str] = []

    def __post_init__(self) -> None:
        """Refuse an operation that there is none of."""
        if self.operation not in {"insert", "upsert"}:
            raise ValueError(f"there is no operation {self.operation!r}; there are insert and upsert")
        if self.operation == "upsert" and not self.unique_columns:
            raise ValueError("an upsert needs unique-columns")


@smartmodule
def json_sql(record: Record, *, mapping: SqlMapping) -> Record:
    """Replace a JSON value by the row that a SQL sink of Fluvio inserts."""
    document = msgspec.json.decode(record.value)
    values = []
    for name, column in (mapping.map_columns or mapping.columns).items():
        found = _found(document, column.path)
        default = column.value.default
        if found is _ABSENT and default is None and column.value.required:
            raise ValueError(f"there is no {column.path!r} for the column {name}")
        if found is _ABSENT:
            # What is neither there nor required is an empty text, as in Fluvio.
            found = "" if default is None else default
        values.append({"column": name, "raw_value": _text(found), "type": _TYPES[column.value.type.lower()]})
    row: dict[str, Any] = {"table": mapping.table, "values": values}
    if mapping.operation == "upsert":
        row["uniq_idx"] = ",".join(mapping.unique_columns)
    return Record(msgspec.json.encode({mapping.operation.capitalize(): row}), record.key)


def _found(document: Any, path: str) -> Any:
    """Return what stands at a path, `$` and an empty one being the whole; _ABSENT when there is nothing."""
    for step in path.removeprefix("$").removeprefix(".").split("."):
        if step == "":
            continue
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return _ABSENT
    return document


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
