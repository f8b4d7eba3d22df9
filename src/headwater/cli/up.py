"""Owns `headwater up`: the server in the foreground. What it speaks is the server's."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import click
import structlog
import uvloop

from headwater.cli.beside import Serving
from headwater.cli.egress import egress_options, server_policy
from headwater.cli.logs import configure_logs
from headwater.cli.managing import Management, Managing
from headwater.cli.notify import announced
from headwater.cli.options import data_dir, read_grace
from headwater.cli.stopping import stopping
from headwater.control.journal import Journal
from headwater.core.address import parse_address
from headwater.core.egress import Place as Egress
from headwater.core.limits import raise_file_limit
from headwater.log import Log
from headwater.server.server import Listen, Server, server_context

logger = structlog.get_logger("headwater")


# A name or an address, a bracketed IPv6 one, each with a port or without; or an IPv6 one as it is.
_ADVERTISED = re.compile(
    r"(?:(?P<host>[^\s:/\[\]]+)|\[(?P<bracketed>[0-9a-fA-F:.]+)\])(?::(?P<port>[0-9]+))?"
    r"|(?P<bare>[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*)"
)


def _advertised(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str | None, int | None]:  # noqa: ARG001 - click's signature
    """Read HOST or HOST:PORT."""
    if value is None:
        return None, None
    found = _ADVERTISED.fullmatch(value)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or not (port is None or 0 < port < 65536):
        raise click.BadParameter(f"{value!r} is not of the form HOST or HOST:PORT")
    return found["host"] or found["bracketed"] or found["bare"], port


def _port(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:  # noqa: ARG001 - click's signature
    """Read PORT, HOST:PORT or [IPV6]:PORT."""
    try:
        return None if value is None else parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _named(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001 - click's signature
    """Refuse an empty address, which would be all of them."""
    if not value.strip():
        raise click.BadParameter("it names no address; 0.0.0.0 is all")
    return value


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    callback=_named,
    help="The address to listen on; 0.0.0.0 is all.",
)
@click.option("--sc-port", type=click.IntRange(0, 65535), help="The port of profiles.  [default: 9003 if free]")
@click.option("--spu-port", type=click.IntRange(0, 65535), help="The port of records.  [default: 9005 if free]")
@click.option(
    "--advertise",
    metavar="HOST[:PORT]",
    callback=_advertised,
    help="Where clients find the port of records, when that is another address from outside (containers, NAT).",
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Speak TLS: certificate."
)
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Its key.")
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Serve only clients with a certificate of this authority.",
)
@click.option(
    "--connectors",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Run the connectors of a directory's connect.yml files, and follow every edit.",
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of NAME=VALUE lines for the ${{ secrets.NAME }} of --connectors.  [default: the environment]",
)
@click.option(
    "--api",
    metavar="[HOST:]PORT",
    callback=_port,
    help="Serve the control API there too, on loopback; the token is in control.token of the data directory.",
)
@egress_options("public")
@click.option("--metrics", metavar="[HOST:]PORT", help="Serve Prometheus metrics there (loopback by default).")
@click.option(
    "--health", metavar="[HOST:]PORT", help="Answer /startupz, /livez, /readyz and /metrics there (loopback)."
)
@click.option(
    "--grace",
    default="10s",
    metavar="DURATION",
    show_default=True,
    help="Time to finish what is under way.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-format", type=click.Choice(["auto", "human", "json"]), default="auto", show_default=True)
@data_dir
def command(
    listen: str,
    sc_port: int | None,
    spu_port: int | None,
    advertise: tuple[str | None, int | None],
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    connectors: Path | None,
    secrets: Path | None,
    api: tuple[str, int] | None,
    egress: Literal["open", "public"],
    egress_allow: tuple[Egress, ...],
    egress_deny: tuple[Egress, ...],
    metrics: str | None,
    health: str | None,
    grace: str,
    log_level: str,
    log_format: str,
    data_dir: Path,
) -> int:
    """Serve the embedded log over Fluvio's protocol and run managed connectors, until Ctrl-C.

    Any stock Fluvio client finds the topics at the address that is said at the start. Connectors are created with
    `headwater connector create`, or by their files in a directory that is watched. They reach public addresses alone,
    unless --egress or --egress-allow says otherwise.
    """
    journal = Journal(data_dir)
    configure_logs(log_format, log_level, tap=journal.tap)
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if client_ca is not None and tls_cert is None:
        raise click.UsageError("--client-ca needs --tls-cert and --tls-key.")
    if sc_port and sc_port == spu_port:
        raise click.UsageError(f"--sc-port and --spu-port are both {sc_port}; each needs a port of its own.")
    tls = server_context(tls_cert, tls_key, client_ca) if tls_cert and tls_key else None
    host, port = advertise
    place = Listen(listen, sc_port, spu_port, host, port, tls)
    if place.exposed and tls is None:
        logger.warning("anybody who reaches this machine can read and write all topics", hint="use --tls-cert")
    managing = Managing(
        journal,
        read_grace(grace),
        watched=connectors,
        secrets=secrets,
        api=api,
        serving=Serving(metrics, health),
        egress=server_policy(egress, egress_allow, egress_deny),
    )
    return uvloop.run(_serve(data_dir, place, managing))


async def _serve(directory: Path, place: Listen, managing: Managing) -> int:
    managed: list[Management] = []
    raise_file_limit()
    with stopping(managing.grace, lambda: bool(managed) and managed[0].busy()) as end:
        async with AsyncExitStack() as cleanup:
            log = await cleanup.enter_async_context(Log.open(directory))
            server = await cleanup.enter_async_context(Server(log, place))
            logger.info("serving", endpoint=server.endpoint, spu_port=server.spu_port, data=str(directory))
            management = Management(log, managing, elsewhere=server.local.spoken_for)
            server.local.managed = management.runs
            managed.append(await cleanup.enter_async_context(management))
            await cleanup.enter_async_context(announced(f"serving at {server.endpoint}", end.asked))
            await managed[0].until(end.asked)
    return end.status()
