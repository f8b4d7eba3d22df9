"""Owns the small HTTP server that answers probes, in the event loop that does the work: one that is stuck is silent.

Imported only where probes are asked for. What is answered is `probes`' business.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headwater.core.address import parse_address
from headwater.core.errors import HeadwaterError
from headwater.engine.embedded import embedded
from headwater.engine.metrics import EngineCollector
from headwater.engine.probes import Probe, State, answer

# Nobody needs more, and a flood of connections must not starve the work.
_MOST_CONNECTIONS = 64


@asynccontextmanager
async def serve_probes(
    address: str, observe: Callable[[], State], collector: EngineCollector | None = None
) -> AsyncIterator[str]:
    """Answer probes at `[HOST:]PORT` while the block is entered; give the URL to the block. Port 0 takes a free one.

    `observe` returns the state at that moment. With a collector, its metrics are at /metrics. Raises HeadwaterError
    when the address cannot be used.
    """
    listening = _listen(address)
    host, port = listening.getsockname()[:2]
    async with embedded(application(observe, collector), listening, connections=_MOST_CONNECTIONS):
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def application(observe: Callable[[], State], collector: EngineCollector | None = None) -> Starlette:
    """Return what answers the probes."""
    routes = [Route(probe.value, partial(_probe, probe, observe)) for probe in Probe]
    if collector is not None:
        registry = CollectorRegistry()
        registry.register(collector)
        routes.append(Route("/metrics", partial(_metrics, registry)))
    return Starlette(routes=routes)


async def _probe(probe: Probe, observe: Callable[[], State], request: Request) -> Response:  # noqa: ARG001 - the library's signature
    answered = answer(probe, observe())
    return Response(msgspec.json.encode(answered) + b"\n", answered.status, media_type="application/json")


async def _metrics(registry: CollectorRegistry, request: Request) -> Response:  # noqa: ARG001 - the library's signature
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


def _listen(address: str) -> socket.socket:
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise HeadwaterError(f"--health {error}", hint="write a port such as 8080, or 0.0.0.0:8080") from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Connections wait from now on, until the server takes them.
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HeadwaterError(
            f"cannot serve health on {host}:{port}: {reason}", hint="name another port, or 0 for any free one"
        ) from error
