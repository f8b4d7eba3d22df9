"""Owns `headwater k8s`: connectors as Kubernetes objects, for people and for GitOps. What they are is `kubernetes`'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headwater.cli.egress import split_places
from headwater.cli.options import assignments, read_grace
from headwater.cli.run import say_warnings
from headwater.cli.worker import command as worker
from headwater.config import define_files, secret_source
from headwater.kubernetes.group.render import group_of
from headwater.kubernetes.group.slots import MOST_SLOTS
from headwater.kubernetes.manifest import group_manifest
from headwater.kubernetes.manifest import manifest as manifest_of
from headwater.kubernetes.options import Options, settings_of
from headwater.kubernetes.target import check_namespace

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Connectors as Kubernetes objects."""


command.add_command(worker)


def _quantities(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str] | None:
    """Read the values of `--requests` and `--limits`: NAME=QUANTITY pairs, parted by commas."""
    pairs = assignments(ctx, param, tuple(pair for text in value for pair in text.split(",") if pair.strip()))
    return pairs or None


def _places(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:  # noqa: ARG001 - click's signature
    return split_places(value) or None


def settings_options(command: _Decorated) -> _Decorated:
    """Add what says how connectors run in a cluster."""
    for option in (
        click.option(
            "--slots",
            type=click.IntRange(1, MOST_SLOTS),
            metavar="N",
            help="With --group, once and for all: into how many slots its work is divided.  [default: 16]",
        ),
        click.option(
            "--replicas",
            type=click.IntRange(0, MOST_SLOTS),
            metavar="N",
            help="With --group: how many pods share the work.  [default: 2]",
        ),
        click.option(
            "--group", metavar="NAME", help="Run in the pods of this group, together with all others that are in it."
        ),
        click.option(
            "--egress-allow",
            multiple=True,
            metavar="PLACE",
            callback=_places,
            help="A place that connectors may reach besides public ones: a host, *.HOST, an address, a network. "
            "Repeatable.",
        ),
        click.option(
            "--egress",
            type=click.Choice(["open", "public"]),
            help="Where connectors may go: public is public addresses alone, not those of the cluster.  "
            "[default: public]",
        ),
        click.option(
            "--grace",
            metavar="DURATION",
            help="Time to finish when a pod is stopped.  [default: 20s]",
        ),
        click.option(
            "--limits", multiple=True, metavar="NAME=QUANTITY", callback=_quantities, help="Such as memory=1Gi,cpu=2."
        ),
        click.option(
            "--requests", multiple=True, metavar="NAME=QUANTITY", callback=_quantities, help="Such as memory=256Mi."
        ),
        click.option("--secret", metavar="NAME", help="A Secret that somebody else keeps, with a key for each secret."),
        click.option(
            "--client-tls/--no-client-tls",
            default=None,
            help="Mount the Secrets fluvio-ca and fluvio-client-tls below /var/certs, where the profile names them.",
        ),
        click.option(
            "--profile-config-map",
            metavar="NAME",
            help="The ConfigMap with the profile of the Fluvio cluster.  [default: fluvio-config-map]",
        ),
        click.option("--storage-class", metavar="NAME", help="The class of the volume.  [default: the cluster's]"),
        click.option("--storage", metavar="SIZE", help="Keep the topics in a volume of this size, without Fluvio."),
        click.option("--image", metavar="IMAGE", help="What the pods run.  [default: headwater:VERSION]"),
    ):
        command = option(command)
    return command


def options_of(given: dict[str, Any]) -> Options:
    """Return the options that the flags of `settings_options` mean."""
    grace = given.pop("grace")
    if given["group"] is None:
        for name in ("replicas", "slots"):
            if given[name] is not None:
                raise ValueError(f"--{name} is for connectors in a group; name one with --group")
    return Options(**given, grace=None if grace is None else round(read_grace(grace)))


@command.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, exists=True),
    help="A file of NAME=VALUE lines for ${{ secrets.NAME }}, or a directory with a file for each.  "
    "[default: the environment]",
)
@click.option("--with-secrets", is_flag=True, help="Include the Secrets. They are readable by whoever reads the text.")
@click.option("--namespace", "-n", default="", metavar="NAME", help="Where the objects go.  [default: not said]")
@settings_options
def manifest(
    configs: tuple[Path, ...],
    secrets: Path | None,
    with_secrets: bool,  # noqa: FBT001 - click's signature
    namespace: str,
    **given: Any,
) -> None:
    """Print connectors as YAML for `kubectl apply --server-side`, or for a repository of manifests.

    The same objects as the ones that are made in a cluster directly. Secrets are left out: comments say which are
    expected.
    """
    defined = define_files(configs, secrets=secret_source(secrets))
    say_warnings(defined.warnings)
    try:
        options = options_of(given)
        where = check_namespace(namespace) if namespace else ""
        if options.group is not None:
            group = group_of(options)
            text = group_manifest(
                defined.definitions, group, options.secret or "", namespace=where, with_secrets=with_secrets
            )
        else:
            text = manifest_of(defined.definitions, settings_of(options), namespace=where, with_secrets=with_secrets)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    click.echo(text, nl=False)
