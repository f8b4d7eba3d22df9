"""Owns `headwater http`, the page's local connector: every option of the `http:` section as a flag.

The flags are made from the fields of the configuration, so an option is declared once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cli.logs import configure_logs
from headwater.cli.options import data_dir, run_options
from headwater.cli.run import read_grace, run_foreground
from headwater.config import HttpOptions, from_options, secret_source

_REPEATED = {"headers": "--header", "params": "--param"}


class PageCommand(click.Command):
    """A command that accepts the bare `--` which the page's container passes before its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Drop one leading `--`, which would otherwise turn every flag into an argument."""
        return super().parse_args(ctx, args[1:] if args[:1] == ["--"] else args)


def flags() -> list[click.Option]:
    """Return a flag for every option of the `http:` section, in the order of their declaration."""
    options = []
    for name, field in HttpOptions.model_fields.items():
        kebab = f"--{name.replace('_', '-')}"
        names = [name, kebab]
        repeated = name in _REPEATED
        if repeated:
            names.append(_REPEATED[name])
        metavar = name.upper() if not repeated else "NAME=VALUE"
        options.append(
            click.Option(names, multiple=repeated, metavar=metavar, required=False, help=field.description or "")
        )
    return options


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
@data_dir
@run_options
def command(
    topic: str,
    name: str | None,
    create_topic: str,
    secrets: Path | None,
    data_dir: Path,
    metrics: str | None,
    log_format: str,
    log_level: str,
    grace: str,
    **options: Any,
) -> int:
    """Run one connector from flags, as Fluvio's local connector does.

    headwater http --endpoint=https://catfact.ninja/fact --fluvio-topic=cat-facts
    """
    configure_logs(log_format, log_level)
    given: dict[str, object] = {}
    for key, value in options.items():
        if value is None or value == ():
            continue
        given[key] = list(value) if isinstance(value, tuple) else value
    config = from_options(
        name=name or topic, topic=topic, options=given, create_topic=create_topic, secrets=secret_source(secrets)
    )
    return run_foreground((config,), data_dir, metrics=metrics, grace=read_grace(grace))


command.params[:0] = flags()
