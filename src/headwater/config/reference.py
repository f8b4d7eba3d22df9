"""Owns the reference page of connect.yml, made from the fields of the model: `python -m headwater.config.reference`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import get_args

from pydantic.fields import FieldInfo

from headwater.config.dialect import TOPIC_SETTINGS
from headwater.config.fields import Options, Size, groups_of
from headwater.config.http import HttpOptions
from headwater.config.limits import Reserve
from headwater.config.model import (
    ConnectorConfig,
    DeduplicationBounds,
    Lookback,
    ProducerOptions,
    TopicOptions,
    TransformOptions,
)
from headwater.core.units import format_duration, format_size, parse_size

_HEAD = """\
# Options of connect.yml

Made from the source by `make docs`; every option is here. Names may be written with `_` or with `-`. An unknown key is
an error that names the nearest one. Durations are a number of seconds, or such as `10s`, `150ms`, `1m 30s`; sizes are
bytes, or such as `64 MiB`, `44.0 MB`.

In the page's form, `name`, `type`, `topic`, `create_topic`, `producer`, `transforms` and `secrets` stand at the root,
and the options below under `parameters:`. In today's form they stand under `meta:` (`transforms` at the root), and the
options under `http:`. Any text may hold `${{ secrets.NAME }}`. Each option of the first table is a flag of
`headwater http`, and `headwater run --set KEY=VALUE` overrides it (`--set retry.attempts=1`).

`secrets` names secrets: `- name: TOKEN` alone is looked up in `--secrets`, else in the environment. Beside the name may
stand `file: /path` (read at each start, without the line break at its end), `env: OTHER_NAME`, or
`command: [program, argument]` (no shell; ten seconds, 1 MiB). A value in `--secrets` comes before these three. A
managed connector keeps the values of when it was created; what comes over the control API's port or goes to Kubernetes
may name neither file nor command. A secret is masked wherever people read, also percent-encoded, escaped, in base64 or
hexadecimal; one of fewer than four characters is not, for it would mask half of every sentence.

`topic` is a name, or a map with the keys of the table of topics below, such as
`topic: {meta: {name: cats}, partition: {count: 3}}`; `create_topic` stands beside it.
"""


# What tells a number of bytes from any other.
_IS_SIZE = get_args(Size)[1]


def _groups(options: type[Options], above: str = "") -> Iterator[tuple[str, type[Options], tuple[str, ...]]]:
    """Return every group below a group, with its name as a file has it."""
    for name, field in options.model_fields.items():
        groups = groups_of(field)
        for group in groups:
            title = f"{above}{name}"
            kind = group.model_fields.get("type")
            if len(groups) > 1 and kind is not None:
                title = f"{title}, type: {kind.annotation.__args__[0]}" if kind.annotation is not None else title
            yield title, group, ()
            yield from _groups(group, f"{above}{name}.")


_GROUPS: tuple[tuple[str, type[Options], tuple[str, ...]], ...] = (
    ("parameters / http", HttpOptions, ()),
    *_groups(HttpOptions),
    ("the connector", ConnectorConfig, ("http", "default_interval")),
    ("topic", TopicOptions, ()),
    ("deduplication.bounds", DeduplicationBounds, ()),
    ("producer", ProducerOptions, ()),
    ("transforms", TransformOptions, ()),
    ("lookback", Lookback, ()),
)


def markdown() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, options, left_out in _GROUPS:
        described = (options.__doc__ or "").strip().splitlines()[0]
        parts.append(f"## {title}\n\n{described}\n\n| option | default | meaning | example |\n|---|---|---|---|")
        parts += [
            _row(_written(options, name), name, field)
            for name, field in options.model_fields.items()
            if name not in left_out
        ]
        parts.append("")
    return "\n".join(parts)


def _written(options: type[Options], name: str) -> str:
    """Return an option's name as a file has it."""
    if options is TopicOptions:
        places = {field: ".".join(path) for path, field in TOPIC_SETTINGS.items()}
        return {"name": "meta.name", "create": "create_topic", **places}.get(name, name)
    return name.removesuffix("_")


def _row(written: str, name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _shown(name, field)
    example = f"`{_example(field.examples[0])}`" if field.examples else ""
    cells = (f"`{written}`", default, field.description or "", example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _example(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        size = format_size(value)
        return f"`{size}`" if _IS_SIZE in field.metadata and parse_size(size) == value else f"`{value}`"
    if name == "accept_status":
        return "`2xx`"
    if name == "spread":
        return "`auto`"
    return f"`{value}`" if value and isinstance(value, str | float | Reserve) else ""


if __name__ == "__main__":
    sys.stdout.write(markdown())
