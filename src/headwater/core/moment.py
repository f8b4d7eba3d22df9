"""Owns the times that a request may be about. Nothing pure asks a clock: it is given a moment."""

from __future__ import annotations

import msgspec


class Moment(msgspec.Struct, frozen=True, gc=False):
    """When something is asked for, in ms since the Unix epoch.

    `scheduled` is when the round was due, the same for all its exchanges, however late they are and whatever crash is
    in between: what is asked for should depend on it. `now` is the time of this exchange. `first`: it is the first
    exchange of its tick, which begins a round or goes on with one that was broken off.
    """

    scheduled: int
    now: int
    first: bool = True
