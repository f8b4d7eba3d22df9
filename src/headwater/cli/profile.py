"""Owns `headwater profile`: which profiles there are, which one is current, and changes to Fluvio's file of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import yaml

from headwater.cli.options import default_data_dir, print_table
from headwater.core.errors import ProfileError
from headwater.profile import edit
from headwater.profile.choice import VARIABLE
from headwater.profile.file import chosen, config_path, read, save, shown
from headwater.profile.model import (
    LOCAL,
    PREFIX,
    ClusterProfile,
    Policy,
    Tls,
    check_domain,
    check_name,
    fluvio_name,
    label,
    parse_endpoint,
)
from headwater.profile.text import FluvioConfig
from headwater.profile.tls import client_context, inlined

_COLUMNS = (" ", "PROFILE", "CLUSTER", "ADDRESS", "TLS")
_NOT_LOCAL = f"'{PREFIX}{LOCAL}' is the one of Fluvio's file"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True, resolve_path=True)


@click.group()
def command() -> None:
    """Say which log or cluster commands talk to.

    `local` is the embedded log. All others are Fluvio's own profiles, in $FLV_PROFILE_PATH or ~/.fluvio/config; one
    that is called `local` there is `fluvio:local` here. Commands follow --profile, else $HEADWATER_PROFILE, else the
    current profile of that file, else `local`.
    """


@command.command("list", short_help="List the profiles.")
@click.option("-O", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
def list_profiles(output: str) -> None:
    """List the profiles, with a * before the one that commands talk to."""
    path = config_path()
    config = FluvioConfig.parse(read(path) or "", shown(path))
    current = ""
    try:
        current = chosen().name
    except ProfileError as error:
        # What is listed is what one needs to correct it.
        click.echo(error.report(), err=True)
    rows = [
        (LOCAL, "embedded log", shown(default_data_dir()), ""),
        *(
            (label(name), profile.cluster, profile.endpoint, profile.tls.policy.capitalize())
            for name, profile in config.profiles.items()
        ),
        *((label(name), cluster, "missing", "") for name, cluster in config.dangling.items()),
    ]
    if output == "table":
        print_table(_COLUMNS, [("*" if row[0] == current else "", *row) for row in rows])
        return
    names = ("profile", "cluster", "address", "tls")
    told = [dict(zip(names, row, strict=True), current=row[0] == current) for row in rows]
    click.echo(json.dumps(told, indent=2) if output == "json" else yaml.safe_dump(told, sort_keys=False).rstrip())


@command.command("current")
def current() -> None:
    """Print the profile that commands talk to."""
    click.echo(chosen().name)


@command.command("switch", short_help="Make a profile the current one.")
@click.argument("name")
def switch(name: str) -> None:
    """Make a profile the current one, for Fluvio's own commands as well.

    `local` leaves none of Fluvio's current.
    """
    path = config_path()
    text = read(path)
    own = fluvio_name(name)
    if text is not None:
        save(path, edit.switch(text, own, shown(path)))
    elif own is not None:
        raise _missing(path, own)
    if own is None:
        _say_switched("switched to profile local, the embedded log: no profile of Fluvio is current", path)
    else:
        _say_switched(f"switched to profile {label(own)}", path)


@command.command("add", short_help="Add a profile and make it the current one.")
@click.argument("name")
@click.argument("endpoint")
@click.option(
    "--tls",
    "policy",
    type=click.Choice([policy.value for policy in Policy]),
    help="Encrypt, without (anonymous) or with verification.  [default: disabled, or verified when files are given]",
)
@click.option("--tls-domain", "domain", metavar="NAME", help="The name in the certificate of the cluster.")
@click.option("--tls-cert", "cert", type=_FILE, help="The certificate to show the cluster, a PEM file.")
@click.option("--tls-key", "key", type=_FILE, help="Its private key, a PEM file.")
@click.option("--tls-ca", "ca_cert", type=_FILE, help="The authority that the cluster's certificate comes from.")
@click.option("--inline", is_flag=True, help="Keep the contents of the files, instead of their paths.")
@click.option("--use-spu-local-address", is_flag=True, help="Reach SPUs at their private addresses.")
@click.option("--no-switch", is_flag=True, help="Leave the current profile as it is.")
@click.option("--replace", is_flag=True, help="Give a profile that is there another address and other TLS settings.")
def add(
    name: str,
    endpoint: str,
    policy: str | None,
    domain: str | None,
    cert: Path | None,
    key: Path | None,
    ca_cert: Path | None,
    inline: bool,  # noqa: FBT001 - a flag of the command line
    use_spu_local_address: bool,  # noqa: FBT001 - a flag of the command line
    no_switch: bool,  # noqa: FBT001 - a flag of the command line
    replace: bool,  # noqa: FBT001 - a flag of the command line
) -> None:
    """Add a profile NAME for the cluster at ENDPOINT, host:port, and make it the current one."""
    if name == LOCAL:
        raise ProfileError("the profile 'local' is the embedded log", hint=_NOT_LOCAL)
    own = name.removeprefix(PREFIX)
    try:
        check_name(own)
        address = parse_endpoint(endpoint)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    tls = _tls(policy, domain, cert, key, ca_cert, inline=inline)
    path = config_path()
    profile = ClusterProfile(own, address, own, use_spu_local_address, tls)
    before = read(path) or ""
    done = "replaced" if own in FluvioConfig.parse(before, shown(path)).profiles else "added"
    text = edit.add(before, profile, shown(path), replace=replace)
    if not no_switch:
        text = edit.switch(text, own, shown(path))
    save(path, text, private=inline)
    told = f"profile {label(own)} {done} (Fluvio at {address})"
    if no_switch:
        click.echo(told)
    else:
        _say_switched(f"{told}, now the current one", path)


@command.command("delete", short_help="Delete a profile.")
@click.argument("name")
def delete(name: str) -> None:
    """Delete a profile, and its cluster when no other profile names it."""
    own = fluvio_name(name)
    if own is None:
        raise ProfileError("the profile 'local' is the embedded log, which is always there", hint=_NOT_LOCAL)
    path = config_path()
    text = read(path)
    if text is None:
        raise _missing(path, own)
    was_current = FluvioConfig.parse(text, shown(path)).current == own
    save(path, edit.delete(text, own, shown(path)))
    none = "; it was the current one, and now commands talk to the embedded log" if was_current else ""
    click.echo(f"profile {label(own)} deleted{none}")


def _tls(
    policy: str | None, domain: str | None, cert: Path | None, key: Path | None, ca_cert: Path | None, *, inline: bool
) -> Tls:
    """Return what the options of TLS say together."""
    given = {"--tls-domain": domain, "--tls-cert": cert, "--tls-key": key, "--tls-ca": ca_cert}
    lacking = [option for option, value in given.items() if value is None]
    if policy != Policy.VERIFIED and (policy is not None or len(lacking) == len(given)):
        if inline or len(lacking) < len(given):
            raise click.UsageError("--inline and --tls-... are for --tls verified, which checks both sides.")
        return Tls(Policy(policy or Policy.DISABLED))
    if domain is None or cert is None or key is None or ca_cert is None:
        raise click.UsageError(f"Verified TLS also needs {', '.join(lacking)}.")
    try:
        check_domain(domain)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--tls-domain") from error
    tls = Tls.verified(domain, str(key), str(cert), str(ca_cert), inline=False)
    # Told now, and not by the first command that connects: files that do not belong together.
    client_context(tls)
    return inlined(tls) if inline else tls


def _missing(path: Path, name: str) -> ProfileError:
    return ProfileError(
        f"there is no profile {name!r}: {shown(path)} does not exist",
        hint=f"'headwater profile add {label(name)} HOST:PORT' makes it",
    )


def _say_switched(what: str, path: Path) -> None:
    click.echo(what)
    other = os.environ.get(VARIABLE)
    if other:
        click.echo(f"headwater: ${VARIABLE} is {other}, and goes before {shown(path)}", err=True)
