"""Owns the options that say where the connectors of a process may go. What a policy refuses is `core.egress`'s."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

from headwater.core.egress import Place, Policy, place

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def split_places(values: Sequence[str]) -> tuple[str, ...]:
    """Return the places in the values of an option: each may name several, parted by commas or blanks."""
    return tuple(entry for value in values for entry in re.split(r"[\s,]+", value) if entry)


def _places(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Place, ...]:  # noqa: ARG001 - click's signature
    try:
        return tuple(map(place, split_places(value)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def egress_options(usual: Literal["open", "public"]) -> Callable[[_Decorated], _Decorated]:
    """Return what adds `--egress`, `--egress-allow` and `--egress-deny` to a command."""

    def add(command: _Decorated) -> _Decorated:
        for option in (
            click.option(
                "--egress-deny",
                multiple=True,
                metavar="PLACE",
                envvar="HEADWATER_EGRESS_DENY",
                callback=_places,
                help="A place that no connector may reach. Repeatable.  [env: HEADWATER_EGRESS_DENY]",
            ),
            click.option(
                "--egress-allow",
                multiple=True,
                metavar="PLACE",
                envvar="HEADWATER_EGRESS_ALLOW",
                callback=_places,
                help="A place that connectors may reach besides: a host, *.HOST, an address, a network, each with "
                ":PORT or without, or unix:/PATH. Repeatable.  [env: HEADWATER_EGRESS_ALLOW]",
            ),
            click.option(
                "--egress",
                type=click.Choice(["open", "public"]),
                default=usual,
                show_default=True,
                envvar="HEADWATER_EGRESS",
                help="Where connectors may go: public is public addresses alone - not this machine, private networks, "
                "metadata services.  [env: HEADWATER_EGRESS]",
            ),
        ):
            command = option(command)
        return command

    return add


def server_policy(egress: Literal["open", "public"], allow: tuple[Place, ...], deny: tuple[Place, ...]) -> Policy:
    """Return the policy of a process, which the policies of its connectors only narrow."""
    return Policy(egress, allow, deny, option="--egress-allow")


def environment_policy() -> Policy:
    """Return the policy that the environment alone says, for commands without these options; open unless it does.

    Raises click.UsageError.
    """
    command = egress_options("open")(click.Command("environment"))
    given = command.make_context("environment", []).params
    return server_policy(given["egress"], given["egress_allow"], given["egress_deny"])
