"""Owns `headwater test`: one exchange, shown from request to records, that appends nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

import click
import uvloop

from headwater.cli.options import config_options
from headwater.cli.run import say_warnings
from headwater.config import ConnectorConfig, load_files, secret_source
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.units import format_size
from headwater.engine import refuse
from headwater.fetch import CurlFetcher
from headwater.sources.judge import Action, Attempt
from headwater.sources.output import phrase
from headwater.sources.poll import Poll

# A record longer than this is cut in the display (characters); `run` stores it whole.
_SHOWN = 4000


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@config_options
def command(configs: tuple[Path, ...], secrets: Path | None, overrides: dict[str, str]) -> int:
    """Do one exchange for each connector and show it: request, response, records. Nothing is appended.

    Secrets are masked. Exit status 1 when an exchange would not have been stored.
    """
    loaded = load_files(configs, secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    refuse(loaded.connectors)
    return uvloop.run(_try_all(loaded.connectors))


async def _try_all(connectors: tuple[ConnectorConfig, ...]) -> int:
    good = True
    async with CurlFetcher() as fetcher:
        for config in connectors:
            good &= await _try(config, fetcher)
    return 0 if good else 1


async def _try(config: ConnectorConfig, fetcher: CurlFetcher) -> bool:
    poll, nothing = Poll(config), Checkpoint()
    request = poll.request(nothing)
    outcome: Response | FetchError
    try:
        outcome = await fetcher.fetch(request)
    except FetchError as error:
        outcome = error
    attempt = Attempt(number=1, now=time.time(), left=config.interval.total_seconds(), chance=random.random())  # noqa: S311 - jitter
    verdict = poll.judge(outcome, attempt, nothing)
    lines = [f"# connector {config.name} -> topic {config.topic.name}", *_request_lines(request, config)]
    if isinstance(outcome, Response):
        lines += _response_lines(outcome)
    lines.append(f"= {verdict.action.name.lower()}: {verdict.reason}")
    if isinstance(outcome, FetchError) and outcome.hint:
        lines.append(f"  hint: {outcome.hint}")
    if isinstance(outcome, Response) and verdict.action is Action.STORE:
        for number, record in enumerate(poll.records(outcome), start=1):
            key = "null" if record.key is None else repr(record.key)
            lines.append(f"record {number}: key {key}, {format_size(len(record.value))}")
            lines.append(_shown(record.value))
    click.echo(config.masker.mask("\n".join(lines)))
    return verdict.action in {Action.STORE, Action.EMPTY, Action.UNCHANGED}


def _request_lines(request: Request, config: ConnectorConfig) -> list[str]:
    lines = [f"> {request.method} {request.shown_url}"]
    shown = {name.lower(): str(value) for name, value in config.http.headers}
    for name, value in request.headers:
        secret = name.lower() in request.secret_headers
        lines.append(f"> {name}: {'***' if secret else shown.get(name.lower(), value)}")
    if request.body is not None:
        lines.append(f"> ({format_size(len(request.body))} of body)")
    return lines


def _response_lines(response: Response) -> list[str]:
    lines = [f"< {response.version} {response.status} {phrase(response.status)}".rstrip()]
    lines += [f"< {name}: {'***' if name == 'set-cookie' else value}" for name, value in response.headers]
    where = f", after {response.redirects} redirects" if response.redirects else ""
    lines.append(f"< ({format_size(len(response.body))} in {response.elapsed * 1000:.0f} ms{where})")
    return lines


def _shown(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"(binary) {value[:64].hex(' ')}{' ...' if len(value) > 64 else ''}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n... ({len(text) - _SHOWN} more characters)"
