"""Owns the transform of JSON into the model of Fluvio's SQL sinks: the columns of a row, as texts with types."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.core.record import Record
from headwater.transforms.python import smartmodule

# As the mapping names types -> as the model does.
_TYPES = {
    "bool": "Bool",
    "boolean": "Bool",
    "char": "Char",
    "smallint": "SmallInt",
    "int": "Int",
    "integer": "Int",
    "bigint": "BigInt",
    "float": "Float",
    "real": "Float",
    "double": "DoublePrecision",
    "doubleprecision": "DoublePrecision",
    "double-precision": "DoublePrecision",
    "text": "Text",
    "varchar": "Text",
    "bytes": "Bytes",
    "bytea": "Bytes",
    "numeric": "Numeric",
    "decimal": "Numeric",
    "timestamp": "Timestamp",
    "date": "Date",
    "time": "Time",
    "uuid": "Uuid",
    "json": "Json",
    "jsonb": "Json",
}


class ColumnValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a column gets: a type, what stands for a missing value, and whether one must be there."""

    type: str = "text"
    default: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        """Refuse a type that the model does not have."""
        if self.type.lower() not in _TYPES:
            raise ValueError(f"there is no type {self.type!r}; there are {', '.join(_TYPES)}")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Where a column's value stands in the JSON: names joined by dots, or `$` for the whole."""

    json_key: str
    value: ColumnValue = ColumnValue()


class SqlMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A table and its columns."""

    table: str
    map_columns: dict[str, Column]
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
    for name, column in mapping.map_columns.items():
        found = _found(document, column.json_key)
        raw = column.value.default if found is None else _text(found)
        if raw is None:
            if column.value.required:
                raise ValueError(f"there is no {column.json_key} for the column {name}")
            continue
        values.append({"column": name, "raw_value": raw, "type": _TYPES[column.value.type.lower()]})
    row: dict[str, Any] = {"table": mapping.table, "values": values}
    if mapping.operation == "upsert":
        row["uniq_idx"] = ",".join(mapping.unique_columns)
    return Record(msgspec.json.encode({mapping.operation.capitalize(): row}), record.key)


def _found(document: Any, path: str) -> Any:
    if path == "$":
        return document
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
