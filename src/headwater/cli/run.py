"""Owns `headwater run`, and the running of connectors in the foreground that other commands share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import click
import structlog
import uvloop

from headwater.cli.beside import Serving, calm_collector, serve_beside
from headwater.cli.egress import egress_options, server_policy
from headwater.cli.logs import configure_logs
from headwater.cli.notify import announced
from headwater.cli.options import config_options, read_grace, run_options
from headwater.cli.place import Place, cluster_of, find_place, place_options, writable
from headwater.cli.stopping import stopping
from headwater.config import ConnectorConfig, Problem, load_files, secret_source
from headwater.core.egress import Place as Egress
from headwater.core.egress import Policy
from headwater.core.errors import ProfileError
from headwater.core.limits import raise_file_limit
from headwater.engine import Engine
from headwater.engine.target import Target
from headwater.fetch import CurlFetcher

logger = structlog.get_logger("headwater")


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@config_options
@place_options
@egress_options("open")
@run_options
def command(
    configs: tuple[Path, ...],
    secrets: Path | None,
    overrides: dict[str, str],
    profile: str | None,
    data_dir: Path,
    metrics: str | None,
    health: str | None,
    checkpoints: str,
    log_format: str,
    log_level: str,
    grace: str,
    egress: Literal["open", "public"],
    egress_allow: tuple[Egress, ...],
    egress_deny: tuple[Egress, ...],
) -> int:
    """Run connectors in the foreground until Ctrl-C.

    CONFIG is a connect.yml, or a directory of them; one file may hold several, parted by `---`. Nothing starts unless
    all of them are right.
    """
    configure_logs(log_format, log_level)
    loaded = load_files(configs, secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    serving = Serving(metrics, health)
    place = find_place(profile, data_dir)
    policy = server_policy(egress, egress_allow, egress_deny)
    return run_foreground(
        loaded.connectors, place, serving, checkpoints=checkpoints, grace=read_grace(grace), egress=policy
    )


def say_warnings(warnings: Sequence[Problem]) -> None:
    """Write the warnings of a configuration to standard error."""
    for warning in warnings:
        click.echo(warning.render(), err=True)


def run_foreground(
    connectors: Sequence[ConnectorConfig],
    place: Place,
    serving: Serving,
    *,
    checkpoints: str,
    grace: float,
    egress: Policy,
) -> int:
    """Run connectors until SIGINT or SIGTERM and return the exit status: 130 after Ctrl-C, 0 after SIGTERM.

    `checkpoints` is `cluster` for those that are kept where the records go; `egress` is where requests may go.
    """
    calm_collector()
    return uvloop.run(_run(connectors, place, serving, checkpoints=checkpoints, grace=grace, egress=egress))


async def target_of(
    cleanup: AsyncExitStack, place: Place, keeper: Target, connectors: Sequence[ConnectorConfig], checkpoints: str
) -> Target:
    """Return where the records go: to the log itself, or to a cluster with the rest kept in the log, or there too."""
    if not place.on_cluster:
        if checkpoints == "cluster":
            raise ProfileError(
                f"--checkpoints cluster: records go to no cluster but to {place.sentence()}",
                hint="name a cluster with --profile, or keep the checkpoints with --checkpoints local",
            )
        return keeper
    from headwater.engine.oncluster import OnCluster  # noqa: PLC0415 - only clusters pay for it

    cluster = await cleanup.enter_async_context(cluster_of(place))
    there = None
    if checkpoints == "cluster":
        from headwater.engine.checkpoints import Checkpoints  # noqa: PLC0415 - the same

        copies = max(config.topic.replication for config in connectors)
        there = await cleanup.enter_async_context(Checkpoints(cluster, replication=copies))
    return await cleanup.enter_async_context(OnCluster(cluster, keeper, connectors, checkpoints=there))


async def _run(
    connectors: Sequence[ConnectorConfig],
    place: Place,
    serving: Serving,
    *,
    checkpoints: str,
    grace: float,
    egress: Policy,
) -> int:
    raise_file_limit()
    with stopping(grace) as end:
        async with AsyncExitStack() as cleanup:
            keeper = await cleanup.enter_async_context(writable(place.directory))
            fetcher = await cleanup.enter_async_context(CurlFetcher(egress=egress))
            target = await target_of(cleanup, place, keeper, connectors, checkpoints)
            engine = Engine(target, fetcher, grace=grace)
            names = [config.name for config in connectors]
            await serve_beside(cleanup, serving, engine, keeper.size, lambda: names)
            logger.info("running", connectors=len(connectors), data=str(place.directory), profile=place.sentence())
            await cleanup.enter_async_context(announced(f"connectors running: {len(connectors)}", end.asked))
            await engine.run(connectors, end.asked)
    return end.status()
