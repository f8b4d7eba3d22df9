"""Owns what a connector will do, told beforehand: when, which requests, how many a day. Sends nothing.

The time is a parameter. What an answer will say is not known here: how many pages there will be, say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

import msgspec

from headwater.config import ConnectorConfig
from headwater.config.fields import Options
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.core.http import Request
from headwater.core.moment import Moment
from headwater.core.pattern import Pattern
from headwater.core.pointer import WHOLE, Pointer
from headwater.core.secret import MASK
from headwater.core.units import format_duration
from headwater.engine.connector import schedule_of
from headwater.sources.course import NothingDueError
from headwater.sources.poll import Poll

_DAY: Final = 86_400
# A cron that fires more often than this in a day is counted no further.
_MOST_COUNTED: Final = 100_000
_LONGEST_BODY: Final = 20_000


class Planned(msgspec.Struct, frozen=True):
    """A request as it would be sent, without its secrets. `login` is what the transport adds, in a word."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: str = ""
    login: str = ""


class Fire(msgspec.Struct, frozen=True):
    """A scheduled time (ms since the Unix epoch), and its first request; `reason` says why there is none.

    `wrong`: it cannot be made, and not only because nothing is due.
    """

    at: int
    request: Planned | None = None
    reason: str = ""
    wrong: bool = False


class Use(msgspec.Struct, frozen=True):
    """A budget, and how much of it the schedule takes at least. `share` is a part of one."""

    budget: str
    allowed: int
    needed: float

    @property
    def share(self) -> float:
        """How much of it is used."""
        return self.needed / self.allowed


class Meaning(msgspec.Struct, frozen=True):
    """An option that the configuration gives, and what it does."""

    option: str
    value: Any
    text: str


class Forecast(msgspec.Struct, frozen=True):
    """What a connector will do. `rounds` and `requests` are for each day, the latter without retries.

    `resumes` says that the first time goes on with a round that was broken off. `pages` is the most of a round, 1 where
    each round is one request.
    """

    name: str
    topic: str
    schedule: str
    begun: bool
    fires: list[Fire]
    rounds: float
    pages: int
    attempts: int
    uses: list[Use]
    meanings: list[Meaning]
    resumes: bool = False


def forecast(config: ConnectorConfig, checkpoint: Checkpoint | None, now: int, times: int) -> Forecast:
    """Tell what a connector will do that starts at `now` (ms since the Unix epoch), for so many scheduled times."""
    poll = Poll(config)
    before = checkpoint or Checkpoint()
    progress = before.progress
    fires = []
    for number, at in enumerate(_times(config, now, times)):
        scheduled = progress.round if progress is not None and progress.round and not number else at
        fires.append(_fire(config, poll, before, scheduled, at))
    options = config.http
    rounds = _rounds(config, now)
    paged = options.pagination is not None and options.pagination.type != "none"
    return Forecast(
        config.name,
        config.topic.name,
        _spoken(config),
        checkpoint is not None,
        fires,
        rounds,
        options.pagination.max_pages if paged and options.pagination is not None else 1,
        options.retry.attempts,
        list(_uses(config, rounds)),
        list(_meanings(options)),
        resumes=progress is not None and bool(progress.round),
    )


def _times(config: ConnectorConfig, now: int, times: int) -> Iterator[int]:
    """Yield the scheduled times, ms since the Unix epoch."""
    schedule = schedule_of(config)
    start = now / 1000
    at = schedule.first(start).at
    for _ in range(times):
        if math.isinf(at):
            return
        yield round(at * 1000)
        at = schedule.after(at, at).at


def _rounds(config: ConnectorConfig, now: int) -> float:
    if config.http.cron is None:
        return _DAY / config.interval.total_seconds()
    end = now + _DAY * 1000
    return float(sum(1 for _ in takewhile(lambda at: at < end, _times(config, now, _MOST_COUNTED))))


def _spoken(config: ConnectorConfig) -> str:
    if config.http.cron is not None:
        return f"cron {config.http.cron} ({config.http.timezone})"
    return f"every {format_duration(config.interval)}, the first at the start"


def _fire(config: ConnectorConfig, poll: Poll, checkpoint: Checkpoint, scheduled: int, at: int) -> Fire:
    try:
        request = poll.request(checkpoint, Moment(scheduled, at))
    except NothingDueError as error:
        return Fire(at, reason=str(error))
    except FetchError as error:
        return Fire(
            at, reason=f"{config.masker.mask(str(error))}{f' ({error.hint})' if error.hint else ''}", wrong=True
        )
    return Fire(at, planned(config, request))


def planned(config: ConnectorConfig, request: Request) -> Planned:
    """Return a request as people may see it."""
    mask = config.masker.mask
    headers = [
        (name, MASK if name.lower() in request.secret_headers else mask(value)) for name, value in request.headers
    ]
    body = ""
    if request.body is not None:
        body = mask(request.body.decode(errors="replace"))
        if len(body) > _LONGEST_BODY:
            body = f"{body[:_LONGEST_BODY]}... ({len(body)} characters)"
    login = request.transport.login
    return Planned(request.method, mask(request.shown_url), headers, body, "" if login is None else login.kind)


def _uses(config: ConnectorConfig, rounds: float) -> Iterator[Use]:
    """Yield the budgets that the configuration gives, with what the schedule needs of each at least."""
    limits = config.http.limits
    if limits is None:
        return
    for kind, allowed in limits.budgets.items():
        days = {"hour": 1 / 24, "day": 1.0, "month": 30.0}[kind]
        yield Use(f"requests_per_{kind}", allowed, rounds * days)
    if limits.rate is not None:
        yield Use(f"rate {limits.rate}, in a day", round(limits.rate.count * _DAY / limits.rate.period), rounds)


def _meanings(options: Options, above: str = "") -> Iterator[Meaning]:
    """Yield the options that are given, in the order of their declaration, each with what is said of it."""
    shown = options.model_dump(mode="json", exclude_unset=True, fallback=_written)
    for name, field in type(options).model_fields.items():
        if name not in options.model_fields_set:
            continue
        value = getattr(options, name)
        if isinstance(value, Options):
            yield from _meanings(value, f"{above}{name}.")
        else:
            # The whole document is an empty pointer, which nobody writes.
            told = "/" if value == WHOLE else _tidy(shown[name])
            yield Meaning(f"{above}{name.rstrip('_')}", told, field.description or "")


def _written(value: Any) -> Any:
    """Return what a value of our own was written as."""
    if isinstance(value, Pattern):
        return value.text
    if isinstance(value, Pointer):
        return str(value)
    if isinstance(value, msgspec.Struct):
        given = msgspec.structs.asdict(value)
        return {name: _written(item) for name, item in given.items() if item not in {None, ()}}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _tidy(value: Any) -> Any:
    """Return a value with its names as a file has them."""
    if isinstance(value, dict):
        return {key.rstrip("_"): _tidy(item) for key, item in value.items()}
    return [_tidy(item) for item in value] if isinstance(value, list | tuple) else value
