"""Owns `headwater test --replay`: connectors against recordings, without the network, and what is expected of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop

from headwater.cli.streams import refuse_streams
from headwater.config import ConnectorConfig, load_files
from headwater.config.origin import Origin
from headwater.config.secrets import SecretSource
from headwater.core.errors import ConfigError, HeadwaterError
from headwater.core.secret import STAND_IN
from headwater.engine.rehearsal import Outcome, replay
from headwater.log import Log
from headwater.recording.expectation import (
    difference,
    exchange_line,
    read_expectation,
    record_line,
    write_expectation,
)
from headwater.recording.tape import Player, Tape
from headwater.recording.tapefile import read_tape
from headwater.testing.clock import VirtualClock

_MOST_BYTES = 256 * 1024 * 1024


class StandIns(SecretSource):
    """Secrets for a replay: those that are given, and stand-ins for the others. Nothing is read or run for them."""

    def __init__(self, given: SecretSource | None) -> None:
        super().__init__({}, "the recording", closed=True)
        self._given = given

    def get(self, name: str) -> str | None:
        """Return the value, or one that is none."""
        value = None if self._given is None else self._given.get(name)
        return f"{STAND_IN}{name.replace('_', '-').lower()}" if value is None else value

    def find(self, name: str, origin: Origin | None) -> str | None:  # noqa: ARG002 - wherever it would come from
        """Return the same for a secret that says where it comes from."""
        return self.get(name)


def replay_all(
    configs: Sequence[Path],
    *,
    recording: Path,
    secrets: SecretSource | None,
    overrides: dict[str, str],
    data: Path,
    expected: Path | None,
    update: bool,
    interrupted: bool,
) -> int:
    """Replay a recording and return the exit status: 0 when all was as recorded, and as expected."""
    loaded = load_files(configs, secrets=StandIns(secrets), overrides=overrides, here=False)
    if len(loaded.connectors) == 1:
        _refuse_streams(loaded.connectors)
    tape = read_tape(_read(recording), str(recording))
    config = _config_of(loaded.connectors, tape, recording)
    _refuse_streams([config])
    outcome, player = uvloop.run(_replay(config, tape, data, interrupted=interrupted))
    lines = _lines(config, outcome)
    wrong = _troubles(config, outcome, player)
    for line in wrong:
        click.echo(line, err=True)
    if expected is None:
        for line in lines:
            click.echo(line)
        return 1 if wrong else 0
    if update:
        expected.write_text(write_expectation(lines), encoding="utf-8")
        click.echo(f"{expected}: {_count(lines)}", err=True)
        return 1 if wrong else 0
    differs = difference(read_expectation(_read(expected)), lines, str(expected))
    for line in differs:
        click.echo(line)
    if differs or wrong:
        click.echo(f"{config.name}: not as expected; --update writes what is now into {expected}", err=True)
        return 1
    click.echo(f"{config.name}: as expected: {_count(lines)}", err=True)
    return 0


def _refuse_streams(connectors: Sequence[ConnectorConfig]) -> None:
    refuse_streams(connectors, "a recording is of polls, which have an end", "replay the others")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return opened.read(_MOST_BYTES).decode()
    except OSError as error:
        hint = "make it with: headwater record, or headwater test --update"
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise HeadwaterError(f"{path} is not UTF-8 text", hint="make it anew with: headwater record") from error


def _config_of(connectors: Sequence[ConnectorConfig], tape: Tape, recording: Path) -> ConnectorConfig:
    if len(connectors) == 1:
        return connectors[0]
    for config in connectors:
        if config.name == tape.connector:
            return config
    names = ", ".join(config.name for config in connectors)
    raise ConfigError(f"{recording} is of the connector {tape.connector}, and there are {names}")


async def _replay(config: ConnectorConfig, tape: Tape, data: Path, *, interrupted: bool) -> tuple[Outcome, Player]:
    clock = VirtualClock(unix=tape.rounds[0].scheduled / 1000 if tape.rounds else 0.0)
    with tempfile.TemporaryDirectory(prefix="headwater-replay-") as directory:
        async with Log.open(directory, now_ms=clock.time_ms) as log:
            return await replay(config, tape, log, clock, directory=data, interrupted=interrupted)


def _lines(config: ConnectorConfig, outcome: Outcome) -> list[str]:
    records = config.http.records
    timed = records is not None and records.timestamp is not None
    mask = config.masker.mask
    return [
        *(exchange_line(it) for it in outcome.entries),
        *(mask(record_line(topic, it, timed=timed)) for topic, it in outcome.records),
    ]


def _troubles(config: ConnectorConfig, outcome: Outcome, player: Player) -> list[str]:
    """Return what went otherwise than recorded."""
    lines = [f"! not in the recording: {it}" for it in player.missed]
    if player.left:
        lines.append(f"! {len(player.left)} exchanges of the recording were not asked for:")
        lines += [f"    {it.asked.sentence()}" for it in player.left[:10]]
    if outcome.crash:
        lines.append(f"! the connector crashed: {config.masker.mask(outcome.crash)}")
    return lines


def _count(lines: Sequence[str]) -> str:
    exchanges = sum(line.startswith('{"exchange"') for line in lines)
    return f"{exchanges} exchanges, {len(lines) - exchanges} records"
