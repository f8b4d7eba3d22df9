"""Owns `headwater k8s worker`: what a pod of a group runs. How it shares the work is `kubernetes.group`'s."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Literal

import click
import structlog
import uvloop

from headwater.cli.beside import Serving, calm_collector, serve_beside
from headwater.cli.egress import egress_options, server_policy
from headwater.cli.logs import configure_logs
from headwater.cli.options import read_grace, work_options
from headwater.cli.place import Place, cluster_of, find_place, place_options, writable
from headwater.cli.stopping import stopping
from headwater.core.egress import Place as Egress
from headwater.core.egress import Policy
from headwater.core.errors import ProfileError
from headwater.core.limits import raise_file_limit
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.kubernetes import needing_lightkube
from headwater.kubernetes.group.slots import MOST_SLOTS, SLOTS
from headwater.kubernetes.options import Options

logger = structlog.get_logger("headwater")


@click.command("worker")
@click.option("--group", required=True, metavar="NAME", help="The group whose connectors are worked on.")
@click.option(
    "--slots",
    type=click.IntRange(1, MOST_SLOTS),
    default=SLOTS,
    show_default=True,
    help="Into how many slots the group is divided: the same in all of its pods, always.",
)
@click.option("--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), help="Where the cluster is, outside.")
@click.option("--namespace", "-n", metavar="NAME", help="The namespace of the group.  [default: the pod's]")
@place_options
@egress_options("public")
@work_options
def command(
    group: str,
    slots: int,
    kubeconfig: Path | None,
    namespace: str | None,
    profile: str | None,
    data_dir: Path,
    metrics: str | None,
    health: str | None,
    log_format: str,
    log_level: str,
    grace: str,
    egress: Literal["open", "public"],
    egress_allow: tuple[Egress, ...],
    egress_deny: tuple[Egress, ...],
) -> int:
    """Work on a share of a group's connectors, as one of its pods.

    The connectors are ConfigMaps with the label headwater/group. Pods share them by Leases, so that each endpoint is
    polled by one pod; what a pod had that died, others have within 20 seconds. SIGTERM gives everything back.
    """
    configure_logs(log_format, log_level)
    place = find_place(profile, data_dir)
    if not place.on_cluster:
        raise ProfileError(
            f"the pods of a group keep records and checkpoints in a Fluvio cluster, and this is {place.sentence()}",
            hint="name a cluster with --profile, or with FLV_PROFILE_PATH",
        )
    calm_collector()
    options = Options(kubeconfig=kubeconfig, namespace=namespace)
    policy = server_policy(egress, egress_allow, egress_deny)
    return uvloop.run(_work(options, group, slots, place, Serving(metrics, health), read_grace(grace), policy))


async def _work(
    options: Options, group: str, slots: int, place: Place, serving: Serving, grace: float, egress: Policy
) -> int:
    # Imported here: an extra, and it takes long to load.
    from headwater.engine.checkpoints import Checkpoints  # noqa: PLC0415
    from headwater.engine.oncluster import OnCluster  # noqa: PLC0415

    with needing_lightkube():
        from headwater.kubernetes.group.api import Self, opened  # noqa: PLC0415
        from headwater.kubernetes.group.claims import Claims  # noqa: PLC0415
        from headwater.kubernetes.group.worker import Worker, lease_clock  # noqa: PLC0415

    raise_file_limit()
    pod = os.environ.get("POD_NAME") or socket.gethostname()
    me = Self(f"{pod}_{secrets.token_hex(4)}", pod, os.environ.get("POD_UID", ""))
    with stopping(grace) as end:
        async with AsyncExitStack() as cleanup:
            keeper = await cleanup.enter_async_context(writable(place.directory))
            fetcher = await cleanup.enter_async_context(CurlFetcher(egress=egress))
            api = await cleanup.enter_async_context(opened(options, group, slots, me))
            cluster = await cleanup.enter_async_context(cluster_of(place))
            claims = Claims(me.identity, slots, lease_clock)
            worker = Worker(api, claims, grace=grace)
            # What was sent in the last moment of a lease has arrived, or has been given up, before others may begin.
            patience = timedelta(seconds=claims.terms.margin)
            there = await cleanup.enter_async_context(Checkpoints(cluster, patience=patience))
            target = await cleanup.enter_async_context(
                OnCluster(cluster, keeper, [], patience=patience, checkpoints=there, guard=worker.guard)
            )
            engine = Engine(target, fetcher, grace=grace, guard=worker.guard)
            await serve_beside(cleanup, serving, engine, keeper.size, worker.wanted)
            logger.info("working", group=group, identity=me.identity, slots=slots, profile=place.sentence())
            await worker.run(engine, target, end.asked)
    return end.status()
