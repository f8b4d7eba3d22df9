"""Owns which manager of connectors a command talks to: the server of this machine's data directory, or Kubernetes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from headwater.cli.options import data_dir, profile_option
from headwater.core.errors import ProfileError
from headwater.core.managed import Manager

if TYPE_CHECKING:
    from headwater.kubernetes import Options, Whereabouts

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
# The word that names Kubernetes as a target or a profile, as `headwater.kubernetes.target` reads it.
_KUBERNETES = "kubernetes"


class Reach(msgspec.Struct, frozen=True):
    """Where connectors are managed: in a cluster of Kubernetes when there are options for one, else in a directory."""

    directory: Path
    cluster: Options | None = None


def reach_options(*, settings: bool = False) -> Callable[[_Decorated], _Decorated]:
    """Add the options that say where connectors are managed; the command gets them as one argument, `reach`.

    With `settings` there are those that say how a connector runs in a cluster as well.
    """

    def decorate(command: _Decorated) -> Any:
        @wraps(command)
        def gathered(*, data_dir: Path, target: str | None, profile: str | None, **others: Any) -> Any:
            given = {name: others.pop(name) for name in list(others) if name in _CLUSTER_OPTIONS}
            return command(reach=_reach(data_dir, target, profile, given), **others)

        decorated = data_dir(profile_option(gathered))
        for option in (
            click.option(
                "--kubeconfig",
                type=click.Path(path_type=Path, dir_okay=False),
                help="In Kubernetes: the file that knows the cluster.  [default: as kubectl]",
            ),
            click.option("--context", metavar="NAME", help="In Kubernetes: a context of that file."),
            click.option("--namespace", metavar="NAME", help="In Kubernetes: where the connectors are."),
            click.option(
                "--target",
                metavar="WHERE",
                help="kubernetes or kubernetes:NAMESPACE; else the server of this machine, or what --profile says.",
            ),
        ):
            decorated = option(decorated)
        if settings:
            from headwater.cli.k8s import settings_options  # noqa: PLC0415 - only what creates has them

            decorated = settings_options(decorated)
        return decorated

    return decorate


_PLACES = ("kubeconfig", "context", "namespace")
_CLUSTER_OPTIONS = frozenset(
    (
        *_PLACES,
        "image",
        "storage",
        "storage_class",
        "profile_config_map",
        "client_tls",
        "secret",
        "requests",
        "limits",
        "grace",
        "egress",
        "egress_allow",
        "group",
        "replicas",
        "slots",
    )
)


def _reach(directory: Path, target: str | None, profile: str | None, given: dict[str, Any]) -> Reach:
    named = profile or os.environ.get("HEADWATER_PROFILE")
    if target is None and (named is None or named.partition(":")[0] != _KUBERNETES):
        for name, value in given.items():
            if value is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} is for --target kubernetes.")
        if profile is not None and profile != "local":
            raise ProfileError(
                f"connectors are not managed by the cluster of the profile {profile!r}",
                hint="run them here (headwater up), or in Kubernetes with --target kubernetes",
            )
        return Reach(directory)
    from headwater.cli.k8s import options_of  # noqa: PLC0415 - only clusters pay for it
    from headwater.kubernetes import Options, parse_target  # noqa: PLC0415 - the same

    try:
        options = options_of(given) if "grace" in given else Options(**given)
        where = parse_target(target) if target is not None else _of_profile(named or "", options)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    namespace = options.namespace or where.namespace
    return Reach(
        directory, msgspec.structs.replace(options, context=options.context or where.context, namespace=namespace)
    )


def _of_profile(name: str, options: Options) -> Whereabouts:
    from headwater.kubernetes import parse_profile  # noqa: PLC0415 - only clusters pay for it

    known: tuple[str, ...] = ()
    # Without the extra the manager says what is missing, once it is opened.
    with suppress(ModuleNotFoundError):
        from headwater.kubernetes.access import contexts  # noqa: PLC0415 - the same

        known = contexts(options)
    return parse_profile(name, known)


@asynccontextmanager
async def manager_of(reach: Reach) -> AsyncIterator[Manager]:
    """Open the manager of connectors that a command means. Raises ManagerError, here and later."""
    if reach.cluster is not None:
        from headwater.kubernetes import manager  # noqa: PLC0415 - only clusters pay for it

        async with manager(reach.cluster) as kubernetes:
            yield kubernetes
        return
    from headwater.control.client import Client  # noqa: PLC0415 - only what asks pays for it

    yield Client(reach.directory)
