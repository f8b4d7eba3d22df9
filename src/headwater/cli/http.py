"""Owns `headwater http`, the page's local connector: every option of the `http:` section as a flag.

The flags are made from the fields of the configuration, so an option is declared once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from headwater.cli.beside import Serving
from headwater.cli.egress import environment_policy
from headwater.cli.logs import configure_logs
from headwater.cli.options import read_grace, run_options
from headwater.cli.place import find_place, place_options
from headwater.cli.run import run_foreground
from headwater.config import (
    CHAIN_OPTIONS,
    ConnectorConfig,
    HttpOptions,
    Options,
    from_options,
    groups_of,
    holds_many,
    is_switch,
    secret_source,
    word_of,
)

# How the reference page refers to what stands below it there.
_TABLE = re.compile(r"the options of (?:the|its) table below")
_REPEATED = {"headers": "--header", "params": "--param"}


class PageCommand(click.Command):
    """A command that accepts the bare `--` which the page's container passes before its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Drop one leading `--`, which would otherwise turn every flag into an argument."""
        return super().parse_args(ctx, args[1:] if args[:1] == ["--"] else args)


def flags() -> list[click.Option]:
    """Return a flag for every option of the `http:` section, in the order of their declaration; transforms come last.

    An option of a group, such as `attempts` of `retry`, is `--retry-attempts`. Lists and maps of groups are one flag,
    whose value is YAML.
    """
    options = []
    for name, field in HttpOptions.model_fields.items():
        if groups_of(field) and not holds_many(field):
            options += _below(name, groups_of(field))
        else:
            options.append(_flag(name, field))
    options += [_flag(name, ConnectorConfig.model_fields[name]) for name in CHAIN_OPTIONS]
    return options


def _below(name: str, groups: Sequence[type[Options]]) -> list[click.Option]:
    """Return the flags of a group; of several that a word tells apart, an option that many have is one flag."""
    options: dict[str, list[tuple[str, FieldInfo]]] = {}
    for group in groups:
        for inner, option in group.model_fields.items():
            options.setdefault(inner, []).append((word_of(group), option))
    flags = []
    for inner, having in options.items():
        said = having[0][1].description or ""
        kinds = [kind for kind, _ in having if kind]
        if inner == "type" and kinds:
            said = f"The kind: {', '.join(kinds)}."
        elif kinds and len(having) < len(groups):
            said = f"{said}  [{', '.join(kinds)}]"
        flags.append(_flag(f"{name}_{inner.removesuffix('_')}", having[0][1], said))
    return flags


def _flag(name: str, field: FieldInfo, said: str | None = None) -> click.Option:
    names = [name, f"--{name.replace('_', '-')}"]
    repeated = name in _REPEATED
    if repeated:
        names.append(_REPEATED[name])
    # A flag has no table below it.
    said = _TABLE.sub("the options in docs/configuration.md", said or field.description or "")
    if is_switch(field):
        # Without a value, as of --stream, it is true.
        return click.Option(names, is_flag=False, flag_value="true", metavar="[BOOL]", help=said)
    metavar = "NAME=VALUE" if repeated else "VALUE"
    return click.Option(names, multiple=repeated, metavar=metavar, help=said)


def options_of(given: dict[str, Any]) -> dict[str, object]:
    """Return the options that flags give, those of groups in their groups. Other parameters of the command are none."""
    options: dict[str, object] = {}
    known = {flag.name for flag in flags()}
    for name, value in given.items():
        if name not in known or value is None or value == ():
            continue
        group, inner = _of_group(name)
        if inner:
            below = options.setdefault(group, {})
            assert isinstance(below, dict)
            below[inner] = value
        else:
            options[name] = value
    return options


def _of_group(name: str) -> tuple[str, str]:
    """Return the group and the option in it that a flag's name stands for; an empty option for one in no group."""
    if name not in HttpOptions.model_fields:
        for group, field in HttpOptions.model_fields.items():
            if name.startswith(f"{group}_") and groups_of(field) and not holds_many(field):
                return group, name.removeprefix(f"{group}_")
    return name, ""


# Both spellings of an option work here too: what a file may say with `_` is a flag with `-`.
@click.command(cls=PageCommand, context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
@click.option("--fluvio-topic", "--topic", "topic", required=True, metavar="NAME", help="The topic for the records.")
@click.option("--name", metavar="NAME", help="The connector's name.  [default: the topic's]")
@click.option(
    "--create-topic", metavar="BOOL", default="true", help="Create the topic if there is none.  [default: true]"
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of NAME=VALUE lines for ${{ secrets.NAME }}.  [default: the environment]",
)
@click.option(
    "--transforms",
    "--transforms-file",
    "transforms",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file with a `transforms:` list, a chain of SmartModules.",
)
@place_options
@run_options
def command(
    topic: str,
    name: str | None,
    create_topic: str,
    secrets: Path | None,
    transforms: Path | None,
    profile: str | None,
    data_dir: Path,
    metrics: str | None,
    health: str | None,
    checkpoints: str,
    log_format: str,
    log_level: str,
    grace: str,
    **options: Any,
) -> int:
    r"""Run one connector from flags, as Fluvio's local connector does.

    \b
    headwater http --endpoint=https://catfact.ninja/fact --fluvio-topic=cat-facts
    """
    configure_logs(log_format, log_level)
    config = from_options(
        name=name or topic,
        topic=topic,
        options=options_of(options),
        create_topic=create_topic,
        secrets=secret_source(secrets),
        transforms=transforms,
        flags=True,
    )
    serving = Serving(metrics, health)
    place = find_place(profile, data_dir)
    return run_foreground(
        (config,),
        place,
        serving,
        checkpoints=checkpoints,
        grace=read_grace(grace),
        egress=environment_policy(),
    )


command.params[:0] = flags()
