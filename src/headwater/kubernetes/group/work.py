"""Owns what is to be done with the connectors of a group in one process: which start, which end, which change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from headwater.core.managed import Phase
from headwater.engine.guard import Permit
from headwater.kubernetes.group.claims import Standing
from headwater.kubernetes.group.members import Member


class Stage(StrEnum):
    """Where a connector is in this process."""

    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"


class Work(msgspec.Struct):
    """A connector that is here: by which permit, as which version of its ConfigMap."""

    slot: int
    permit: Permit
    checksum: str
    stage: Stage = Stage.STARTING
    cut: bool = False


class Trouble(msgspec.Struct, frozen=True):
    """Why a version of a connector does not run here. It is tried again at `again` on the monotonic clock."""

    checksum: str
    phase: Phase
    reason: str
    since: int
    again: float


class Todo(msgspec.Struct, frozen=True):
    """The names of connectors: to start, to end in peace, to end at once, to replace by another version."""

    start: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    change: tuple[str, ...] = ()


def todo(
    members: Mapping[str, Member],
    works: Mapping[str, Work],
    troubles: Mapping[str, Trouble],
    standing: Callable[[str], Standing],
    now: float,
) -> Todo:
    """Return what is to be done now. `standing` is how this process stands to the slot of a connector."""
    start, drain, cut, change = [], [], [], []
    for name in sorted({*members, *works}):
        member, work = members.get(name), works.get(name)
        if work is None:
            wanted = member is not None and not member.paused and standing(name) is Standing.HELD
            if wanted and member is not None and not _blocked(member, troubles.get(name), now):
                start.append(name)
        elif work.stage is Stage.STARTING:
            # It is looked at again as soon as it has started.
            continue
        elif not work.permit.holds():
            if not work.cut:
                cut.append(name)
        elif work.stage is Stage.ENDING:
            continue
        elif member is None or member.paused or standing(name) is not Standing.HELD:
            drain.append(name)
        elif member.checksum != work.checksum and not _blocked(member, troubles.get(name), now):
            change.append(name)
    return Todo(tuple(start), tuple(drain), tuple(cut), tuple(change))


def _blocked(member: Member, trouble: Trouble | None, now: float) -> bool:
    return trouble is not None and trouble.checksum == member.checksum and now < trouble.again
