"""A server that takes records and keeps none, in a process of its own: what a stock client can send at most."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import uvloop

from headwater.fluvio import records as spu
from headwater.fluvio.batch import HEADER_BYTES, decode_header
from headwater.fluvio.frame import Header
from headwater.fluvio.wire import Reader, decode, encode
from headwater.log import Log
from headwater.server.connection import Apis, Connection
from headwater.server.server import Listen, Server
from headwater.server.unit import RANGES


async def _forget(header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG001 - a handler's signature
    """Acknowledge what a request appends, having looked at the headers of its batches."""
    request = decode(spu.Produce, reader, header.version)
    topics = []
    for topic in request.topics:
        partitions = []
        for data in topic.partitions:
            position = 0
            while position < len(data.batches):
                position += decode_header(data.batches[position : position + HEADER_BYTES]).length
            partitions.append(spu.PartitionProduced(data.partition, base_offset=0))
        topics.append(spu.TopicProduced(topic.topic, tuple(partitions)))
    return (encode(spu.Produced(tuple(topics)), header.version),)


async def _serve() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Log.open(directory) as log:
            server = Server(log, Listen(sc_port=0, spu_port=0))
            server.unit.apis = Apis({**server.unit.apis.handlers, spu.PRODUCE: _forget}, RANGES)
            async with server:
                print(server.endpoint, flush=True)
                await asyncio.to_thread(sys.stdin.read)


@contextmanager
def forgetting() -> Iterator[str]:
    """Run the server in a process of its own; give its endpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.nothing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


if __name__ == "__main__":
    uvloop.run(_serve())
