"""Owns what an engine says of itself to whoever runs the process: started, alive, ready. Pure; serving it is elsewhere.

Trouble of an endpoint is told and changes nothing: another process would not fare better. A log or a cluster that
refuses makes the process not ready, and so does a crashed connector where connectors are all that it is there for; only
what a new process could mend makes it not alive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from headwater.engine.counters import Figures
from headwater.engine.engine import Run, RunState

# With ten thousand connectors the first ones say what the rest would.
MOST_TOLD = 20


class Probe(StrEnum):
    """What is asked, by its path."""

    STARTED = "/startupz"
    LIVE = "/livez"
    READY = "/readyz"


class Told(msgspec.Struct, frozen=True):
    """The trouble of one connector. `since` is ms since the Unix epoch; `ours` is whether it is on this side."""

    connector: str
    slug: str
    reason: str
    since: int
    ours: bool


class State(msgspec.Struct, frozen=True):
    """What is known of an engine. `fatal` is why it cannot go on, "" while it can."""

    connectors: int
    started: bool
    fatal: str = ""
    troubles: tuple[Told, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What a probe is answered. `troubled` counts all troubles, `troubles` has the first, ours before others."""

    ok: bool
    reason: str
    connectors: int
    troubled: int
    troubles: tuple[Told, ...]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 200 if self.ok else 503


def state_of(
    wanted: Collection[str], runs: Mapping[str, Run], figures: Figures, fatal: str = "", *, server: bool = False
) -> State:
    """Return the state of an engine that is to run the connectors `wanted`.

    A `server` has clients of its own, who must not lose it to a connector that crashes.
    """
    troubles = []
    for name, run in runs.items():
        if run.state is not RunState.RUNNING:
            troubles.append(Told(name, "crash", run.reason, run.since, ours=not server))
            continue
        counters = figures.connectors.get(name)
        if counters is not None and (it := counters.trouble) is not None:
            troubles.append(Told(name, it.slug, it.reason, it.since, it.ours))
    return State(len(runs), all(name in runs for name in wanted), fatal, tuple(troubles))


def answer(probe: Probe, state: State) -> Answer:
    """Decide what a probe is answered in a state."""
    ours = [it for it in state.troubles if it.ours]
    others = [it for it in state.troubles if not it.ours]
    reason = ""
    if state.fatal:
        reason = state.fatal
    elif probe is not Probe.LIVE and not state.started:
        reason = "not every connector has been started yet"
    elif probe is Probe.READY and ours:
        more = f", and {len(ours) - 1} more" if len(ours) > 1 else ""
        reason = f"{ours[0].connector}: {ours[0].reason}{more}"
    told = tuple([*ours, *others][:MOST_TOLD])
    return Answer(not reason, reason, state.connectors, len(state.troubles), told)
