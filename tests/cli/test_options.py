"""Options that several commands share."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from headwater.cli.options import profile_option


@pytest.mark.parametrize(("arguments", "given"), [(["--profile", "fluvio:local"], "'fluvio:local'"), ([], "None")])
def test_the_profile_comes_as_it_was_typed(arguments: list[str], given: str) -> None:
    """What it means is decided elsewhere; without the option it is None."""

    @click.command()
    @profile_option
    def command(profile: str | None) -> None:
        click.echo(repr(profile))

    assert CliRunner().invoke(command, arguments).output == f"{given}\n"
