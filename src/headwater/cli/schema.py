"""Owns `headwater schema`: the JSON Schema that an editor completes connect.yml with."""

from __future__ import annotations

import json

import click

from headwater.config import json_schema


@click.command()
def command() -> None:
    """Print the JSON Schema of connect.yml.

    Save it, and begin a connect.yml with `# yaml-language-server: $schema=PATH`: editors then complete and check it.
    """
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
