"""Owns `headwater demo`: the page's own example against a sample API on this machine, in one command."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import resources
from pathlib import Path

import click
import uvloop

from headwater.cli.logs import configure_logs
from headwater.config import load_text
from headwater.core.errors import HeadwaterError, TopicExistsError
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log, Offset, Topic
from headwater.sample import SampleApi
from headwater.server.server import Server

_PATIENCE = 30.0


@click.command()
@click.option("-n", "--records", type=click.IntRange(1), default=5, show_default=True, help="Stop after this many.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the topic is kept.  [default: a new directory, removed at the end]",
)
def command(records: int, data_dir: Path | None) -> None:
    """Poll a sample API into a topic and print the records as they arrive.

    It runs the example of Fluvio's HTTP connector page, with two settings changed: the endpoint is a small API on this
    machine, and the interval one second, so that there is something to see. Stock Fluvio clients can read the topic
    while it runs.
    """
    configure_logs("auto", "warning")
    with tempfile.TemporaryDirectory(prefix="headwater-demo-") as scratch:
        uvloop.run(_demo(records, data_dir or Path(scratch)))
    click.echo(_next_steps(_own_name(), Path("examples/connect.yml")), err=True)


def _own_name() -> str:
    """Return how this command was called: by its bare name only where a shell would find it."""
    found = shutil.which("headwater")
    called = Path(sys.argv[0])
    return "headwater" if found and called.exists() and Path(found).samefile(called) else str(called)


def _next_steps(command: str, example: Path) -> str:
    """Return what a person can do now."""
    config = str(example) if example.exists() else "connect.yml"
    first = "put its URL into" if example.exists() else "save the lines above and put its URL into"
    return f"""
That was a durable topic. Now your own endpoint:
  1. {first} `endpoint:` of {config}
  2. {command} run {config}
  3. {command} consume cat-facts -B          (in another terminal)
or without a file:
  {command} http --endpoint=https://catfact.ninja/fact --fluvio-topic=cat-facts
and for Fluvio's clients, in another terminal:
  {command} up"""


async def _demo(records: int, directory: Path) -> None:
    text = (resources.files("headwater.sample") / "connect.yml").read_text("utf-8")
    with SampleApi() as api:
        overrides = {"endpoint": f"{api.url}/fact", "interval": "1s"}
        loaded = load_text(text, name="connect.yml", overrides=overrides)
        settings = " ".join(f"--set {key}={value}" for key, value in overrides.items())
        name = _own_name()
        click.echo(f"{text.strip()}\n\n$ {name} run connect.yml {settings}\n$ {name} consume cat-facts", err=True)
        async with Log.open(directory) as log, Server(log) as server, CurlFetcher() as fetcher:
            with suppress(TopicExistsError):
                await log.create_topic("cat-facts")
            click.echo(f"# any Fluvio client can read it meanwhile, at {server.endpoint}", err=True)
            stop = asyncio.Event()
            running = asyncio.create_task(Engine(log, fetcher).run(loaded.connectors, stop))
            printing = asyncio.create_task(_print(await log.topic("cat-facts"), records))
            try:
                done, _ = await asyncio.wait(
                    (running, printing), timeout=_PATIENCE + records, return_when=asyncio.FIRST_COMPLETED
                )
                if printing not in done:
                    raise HeadwaterError(f"the sample API at {api.url} left no record in the topic in time")
            finally:
                stop.set()
                printing.cancel()
                await running


async def _print(topic: Topic, records: int) -> None:
    async for record in topic.follow(Offset.end()):
        click.echo(record.value.decode())
        records -= 1
        if records == 0:
            return
