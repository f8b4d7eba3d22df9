"""Owns `headwater test`: one exchange, shown from request to records, that appends nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import click
import uvloop

from headwater.cli.options import config_options
from headwater.cli.place import find_place, modules_of, place_options, writable
from headwater.cli.run import say_warnings
from headwater.config import ConnectorConfig, InvalidConfigError, load_files, secret_source, transport_of
from headwater.config.streaming import NAMES
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import SystemClock
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.core.units import format_size
from headwater.engine.credentials import Credentials, keeps_tokens
from headwater.engine.gate import Gate
from headwater.engine.target import Target
from headwater.fetch import CurlFetcher
from headwater.sources.judge import Action, Attempt
from headwater.sources.output import phrase
from headwater.sources.poll import Poll
from headwater.sources.reaped import BadItem, Reaped
from headwater.sources.request import build_request
from headwater.transforms.chain import Chain, Rejection

# A record longer than this is cut in the display (characters); `run` stores it whole.
_SHOWN = 4000
# Records shown of each stage; an array_map may make thousands.
_MOST_SHOWN = 20
_FATES = {"dead-letter": "would go to ", "skip": "would be left out", "fail": "the poll would fail"}


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@click.option("--replay", "recording", type=click.Path(path_type=Path), help="Take the answers from a recording.")
@click.option("--expect", "expected", type=click.Path(path_type=Path), help="What a replay must come to.")
@click.option("--update", is_flag=True, help="Write what a replay comes to into the file of --expect.")
@click.option("--interrupted", is_flag=True, help="End and start the connector after each exchange of a replay.")
@config_options
@place_options
def command(
    configs: tuple[Path, ...],
    recording: Path | None,
    expected: Path | None,
    update: bool,  # noqa: FBT001 - click passes every option as an argument
    interrupted: bool,  # noqa: FBT001 - the same
    secrets: Path | None,
    overrides: dict[str, str],
    profile: str | None,
    data_dir: Path,
) -> int:
    """Do one exchange for each connector and show it: request, response, records. Nothing is appended.

    Of a stream it has one connection, and shows what comes within five seconds, or twenty records.
    With transforms the records are shown before them and after each.
    Secrets are masked. Exit status 1 when an exchange would not have been stored.

    With --replay nothing is sent: a connector does all rounds of a recording that `headwater record` has made, pages
    and retries included, and what that comes to is printed, or compared with the file of --expect. Secrets need not be
    there. Exit status 1 when anything is otherwise.
    """
    if recording is not None:
        from headwater.cli.replay import replay_all  # noqa: PLC0415 - only replays pay for the import

        return replay_all(
            configs,
            recording=recording,
            secrets=None if secrets is None else secret_source(secrets),
            overrides=overrides,
            data=data_dir,
            expected=expected,
            update=update,
            interrupted=interrupted,
        )
    if expected is not None or update or interrupted:
        raise click.UsageError("--expect, --update and --interrupted are for --replay")
    loaded = load_files(configs, secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    chains: dict[str, Chain] = {}
    if any(config.chain for config in loaded.connectors):
        from headwater.transforms.library import Library, chains_of  # noqa: PLC0415 - only transforms pay for the import

        place = find_place(profile, data_dir).say()
        used = sorted({link.transform.uses for config in loaded.connectors for link in config.chain})
        chains = chains_of(Library(data_dir, asyncio.run(modules_of(place, used))), loaded.connectors)
    return uvloop.run(_try_all(loaded.connectors, chains, data_dir))


async def _try_all(connectors: tuple[ConnectorConfig, ...], chains: dict[str, Chain], data_dir: Path) -> int:
    good = True
    async with AsyncExitStack() as cleanup:
        fetcher = await cleanup.enter_async_context(CurlFetcher())
        keeper: Target | None = None
        if any(keeps_tokens(config) for config in connectors):
            # A refresh token that is used up leaves another one, which counts from then on: it is kept as in a run.
            keeper = await cleanup.enter_async_context(writable(data_dir))
        credentials = Credentials(keeper, fetcher, SystemClock(), random.random)
        problems = await credentials.problems(connectors)
        if problems:
            raise InvalidConfigError(problems)
        for config in connectors:
            good &= await _try(config, fetcher, chains.get(config.name), credentials)
    return 0 if good else 1


async def _exchange(
    request: Request, fetcher: CurlFetcher, gates: Sequence[Gate]
) -> tuple[Request, Response | FetchError]:
    """Send a request as a connector does, with its credentials; return it as it was sent, and what came of it."""
    left = 2 * request.total_timeout
    try:
        for gate in gates:
            request = await gate.admit(request, left)
        return request, await fetcher.fetch(request)
    except FetchError as error:
        return request, error


async def _try(config: ConnectorConfig, fetcher: CurlFetcher, chain: Chain | None, credentials: Credentials) -> bool:
    if config.http.source != "poll":
        return await _listen(config, fetcher, chain, credentials)
    poll, nothing = Poll(config), Checkpoint()
    refused = False
    now = round(time.time() * 1000)
    moment = Moment(now, now)
    gates = credentials.gates(config, build_request(config.http, transport_of(config)))
    request, outcome = await _exchange(poll.request(nothing, moment), fetcher, gates)
    await credentials.release([config.name], request.total_timeout)
    attempt = Attempt(number=1, now=time.time(), left=config.interval.total_seconds(), chance=random.random())  # noqa: S311 - jitter
    verdict = poll.judge(outcome, attempt, nothing)
    lines = [f"# connector {config.name} -> topic {config.topic.name}", *_request_lines(request, config)]
    if isinstance(outcome, Response):
        lines += _response_lines(outcome)
    lines.append(f"= {verdict.action.name.lower()}: {verdict.reason}")
    if isinstance(outcome, FetchError) and outcome.hint:
        lines.append(f"  hint: {outcome.hint}")
    if isinstance(outcome, Response) and verdict.action is Action.STORE:
        reaped = poll.reap(outcome, nothing, moment)
        lines += _record_lines(reaped.records)
        lines += _further_lines(reaped, config)
        refused = bool(reaped.failure)
        if chain is not None:
            rejected = await asyncio.to_thread(_through, chain, reaped.records, lines)
            if rejected:
                lines.append(f"! {rejected} refused: {_fate(config)}")
            refused = refused or bool(rejected)
    click.echo(config.masker.mask("\n".join(lines)))
    return verdict.action in {Action.STORE, Action.EMPTY, Action.UNCHANGED} and not refused


async def _listen(config: ConnectorConfig, fetcher: CurlFetcher, chain: Chain | None, credentials: Credentials) -> bool:
    """Show one connection of a stream, and what it brings first, while it comes."""
    from headwater.cli.trialstream import Begun, listen  # noqa: PLC0415 - only streams pay for the import
    from headwater.sources.stream.source import StreamSource  # noqa: PLC0415 - the same

    source = StreamSource(config)
    gates = credentials.gates(config, build_request(config.http, transport_of(config)))
    records: list[Record] = []
    bad: list[BadItem] = []

    def say(lines: Sequence[str]) -> None:
        if lines:
            click.echo(config.masker.mask("\n".join(lines)))

    def begun(it: Begun) -> None:
        now = round(time.time() * 1000)
        request = it.request or source.request(source.begun(Checkpoint()), Moment(now, now), "")
        lines = [f"# connector {config.name} -> topic {config.topic.name}", *_request_lines(request, config)]
        if isinstance(it.outcome, Response):
            lines += _response_lines(it.outcome, head=it.verdict.action is Action.STORE)
        what = NAMES[config.http.source] if it.verdict.action is Action.STORE else it.verdict.action.name.lower()
        lines.append(f"= {what}: {it.verdict.reason}")
        if isinstance(it.outcome, FetchError) and it.outcome.hint:
            lines.append(f"  hint: {it.outcome.hint}")
        say(lines)

    def brought(reaped: Reaped) -> None:
        say(_record_lines(reaped.records[: max(0, _MOST_SHOWN - len(records))], len(records)))
        records.extend(reaped.records)
        bad.extend(reaped.bad)

    end = await listen(config, source, fetcher, gates, begun=begun, brought=brought)
    await credentials.release([config.name], config.http.timeout.total_seconds())
    if end is None:
        return False
    lines = _more_lines(len(records))
    lines += _bad_lines(bad, config)
    rejected = await asyncio.to_thread(_through, chain, records, lines) if chain is not None and records else 0
    if rejected:
        lines.append(f"! {rejected} refused: {_fate(config)}")
    lines.append(f"{'!' if end.failed else ' '} {len(records)} record{'' if len(records) == 1 else 's'}; {end.reason}")
    say(lines)
    return not (end.failed or rejected or (bad and config.on_error == "fail"))


def _fate(config: ConnectorConfig) -> str:
    """Return what would become of records that are refused."""
    if config.on_error == "fail" and config.http.source != "poll":
        return "the connection would be ended"
    return f"{_FATES[config.on_error]}{config.dead_letters or ''}"


def _bad_lines(bad: Sequence[BadItem], config: ConnectorConfig) -> list[str]:
    lines = [f"! {it.position}: {it.reason}" for it in bad[:_MOST_SHOWN]]
    if bad:
        lines.append(f"! {len(bad)} bad: {_fate(config)}")
    return lines


def _further_lines(reaped: Reaped, config: ConnectorConfig) -> list[str]:
    """Return what is to be said of an answer beside its records: what is none, what follows, what is wrong."""
    lines = _bad_lines(reaped.bad, config)
    if reaped.failure:
        lines.append(f"! the poll would fail: {reaped.failure}")
    if reaped.parents:
        lines.append(f"  children would be asked for, about each of {len(reaped.parents)}")
    if reaped.note:
        lines.append(f"  {reaped.note}")
    return lines


def _record_lines(records: Sequence[Record], before: int = 0) -> list[str]:
    lines = []
    for number, record in enumerate(records[:_MOST_SHOWN], start=before + 1):
        key = "null" if record.key is None else repr(record.key)
        lines.append(f"record {number}: key {key}, {format_size(len(record.value))}")
        lines.append(_shown(record.value))
    return lines + _more_lines(len(records))


def _more_lines(count: int) -> list[str]:
    return [f"... ({count - _MOST_SHOWN} more records)"] if count > _MOST_SHOWN else []


def _through(chain: Chain, records: Sequence[Record], lines: list[str]) -> int:
    """Pass records through a chain, adding the lines that show each stage. Return how many were refused."""

    def show(number: int, passed: Sequence[Record], rejected: Sequence[Rejection]) -> None:
        step = chain.steps[number - 1]
        lines.append(
            f"| stage {number}: {step.name} ({step.stage.kind}), {len(passed)} record{'s' if len(passed) != 1 else ''}"
        )
        for rejection in rejected[:_MOST_SHOWN]:
            lines.append(f"! refused ({rejection.slug.removeprefix('transform-')}): {rejection.reason}")
            lines.append(_shown(rejection.record.value))
        lines.extend(_record_lines(passed))

    return len(chain.run(records, base_timestamp=round(time.time() * 1000), watch=show).rejections)


def _request_lines(request: Request, config: ConnectorConfig) -> list[str]:
    lines = [f"> {request.method} {request.shown_url}"]
    shown = {name.lower(): str(value) for name, value in config.http.headers if not value.spans}
    for name, value in request.headers:
        secret = name.lower() in request.secret_headers
        lines.append(f"> {name}: {'***' if secret else shown.get(name.lower(), value)}")
    if request.body is not None:
        lines.append(f"> ({format_size(len(request.body))} of body)")
    return lines


def _response_lines(response: Response, *, head: bool = False) -> list[str]:
    """Return the lines of a response; of a `head` there is no body yet."""
    lines = [f"< {response.version} {response.status} {phrase(response.status)}".rstrip()]
    lines += [f"< {name}: {'***' if name == 'set-cookie' else value}" for name, value in response.headers]
    where = f", after {response.redirects} redirects" if response.redirects else ""
    what = "the head" if head else format_size(len(response.body))
    lines.append(f"< ({what} in {response.elapsed * 1000:.0f} ms{where})")
    return lines


def _shown(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"(binary) {value[:64].hex(' ')}{' ...' if len(value) > 64 else ''}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n... ({len(text) - _SHOWN} more characters)"
