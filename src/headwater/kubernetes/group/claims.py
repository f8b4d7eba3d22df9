"""Owns what a pod may do with the slots of its group, by its own clock and what it has seen of leases. Pure.

The rules, of which no two pods at work on one slot is the consequence:

- Whoever holds a slot works until the *start* of the last renewal that went well, plus the duration of the lease, less
  a margin. Then it has stopped by itself, whether it knows of anything or not.
- Whoever wants a slot that another holds waits until it has seen no change of its lease for a whole duration, by its
  own clock. What others write of their clocks is for people.
- All requests carry the version of the lease that they change, and each slot has one request under way, so that of two
  that want the same only one gets it, and none takes anything back that has changed meanwhile.
- Each taking counts `transitions` up: that is the number by which what is stored later counts over what is late.

Who sends the requests, and what works on a slot, is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import count

import msgspec

from headwater.engine.guard import Permit
from headwater.kubernetes.group.slots import preferred, quota


class Terms(msgspec.Struct, frozen=True):
    """How long things take, in seconds. Whoever dies is replaced after `duration`, two looks and `courtesy`, about.

    `margin` is what clocks may differ in a duration, and how long what has left may be on its way. `renewal` is how
    often leases are renewed, `look` how often they are looked at, `patience` how long a request may take. `courtesy` is
    how long slots of the dead are left to those who have fewer than their share.
    """

    duration: float = 10.0
    margin: float = 2.0
    renewal: float = 2.0
    look: float = 1.0
    patience: float = 2.0
    courtesy: float = 2.0


class Lease(msgspec.Struct, frozen=True):
    """A lease as it was seen: its version, who holds it ("" for nobody), for how long, and its fencing number."""

    version: str
    holder: str
    duration: float
    transitions: int


class Act(StrEnum):
    """What is asked of the API server: for a slot the first three, for the pod's own membership the others."""

    TAKE = "take"
    RENEW = "renew"
    RELEASE = "release"
    JOIN = "join"
    LEAVE = "leave"


class Request(msgspec.Struct, frozen=True):
    """One change of one lease; without a `version` the lease is to be made. `slot` is None for the membership."""

    act: Act
    slot: int | None
    version: str
    transitions: int
    sent: float
    number: int


class Standing(StrEnum):
    """How a pod stands to a slot.

    Held: it works on it. Draining: what is under way there may end, nothing new begins. Cut: its time is over, and
    what is there is to end at once. Idle: nothing of it is here.
    """

    IDLE = "idle"
    HELD = "held"
    DRAINING = "draining"
    CUT = "cut"


class _Slot:
    __slots__ = (
        "fresh",
        "lease",
        "pending",
        "permit",
        "renewed",
        "restate",
        "since",
        "standing",
        "touched",
        "vanished",
    )

    def __init__(self) -> None:
        self.lease: Lease | None = None
        # Since when its lease is as it is, and whether that has been seen after our own last request.
        self.since = 0.0
        self.fresh = False
        # Whether there was a lease that somebody has deleted.
        self.vanished = False
        self.touched = float("-inf")
        self.pending: Request | None = None
        self.standing = Standing.IDLE
        self.permit: Permit | None = None
        self.renewed = 0.0
        self.restate = False


class Claims:
    """The slots of a group as one process of it sees them. `identity` is that of no other process, ever.

    `clock` never stands still while others' go on, not even while the machine sleeps. Times are its seconds.
    """

    def __init__(self, identity: str, slots: int, clock: Callable[[], float], terms: Terms | None = None) -> None:
        self.identity = identity
        self.terms = terms or Terms()
        self._clock = clock
        self._slots = [_Slot() for _ in range(slots)]
        self._members: dict[str, tuple[str, float]] = {}
        self._looked: float | None = None
        self._joined: float | None = None
        self._joining: Request | None = None
        # The version of our membership's lease, "" when there is none, and whether that is known.
        self._version = ""
        self._known = True
        self._touched = float("-inf")
        self._leaving = False
        self._numbers = count()

    # What may be done.

    def permit(self, slot: int) -> Permit | None:
        """Return the permit for a slot, None when it is not ours to work on."""
        return self._slots[slot].permit

    def standing(self, slot: int) -> Standing:
        """Return how things stand with a slot now."""
        state = self._slots[slot]
        if state.standing in {Standing.HELD, Standing.DRAINING} and (state.permit is None or not state.permit.holds()):
            state.standing = Standing.CUT
        return state.standing

    def joined(self) -> bool:
        """Return whether others know of this process."""
        return self._joined is not None

    def left(self) -> bool:
        """Return whether nothing is left to be given back after `leave`."""
        return (
            self._leaving
            and self._joined is None
            and self._joining is None
            and all(it.standing is Standing.IDLE and it.pending is None and not self._ours(it) for it in self._slots)
        )

    def _ours(self, state: _Slot) -> bool:
        return state.lease is not None and state.lease.holder == self.identity

    # What has happened.

    def observe(self, leases: Mapping[int, Lease], members: Mapping[str, str], asked: float, now: float) -> None:
        """Take in all leases of the group as an answer to a question of the time `asked`: slots, and members' versions.

        Slots with a request of our own at the same time are left out: the answer may be older than that.
        """
        self._looked = now
        for number, state in enumerate(self._slots):
            if state.pending is not None or state.touched >= asked:
                continue
            found = leases.get(number)
            state.fresh = True
            if (found and found.version) != (state.lease and state.lease.version):
                state.vanished = found is None
                state.lease, state.since = found, now
            if state.permit is not None and not self._ours(state):
                # Somebody has deleted it, or written another name into it by hand.
                state.permit.revoke()
        before = self._members
        self._members = {
            name: before[name] if name in before and before[name][0] == version else (version, now)
            for name, version in members.items()
        }
        if self._joining is None and self._touched < asked:
            self._version, self._known = members.get(self.identity, ""), True

    def answered(self, request: Request, lease: Lease | None, now: float) -> None:
        """Take in what a request has come to: the lease as it is now, None when it had changed or was not there."""
        if request.slot is None:
            self._membership(request, lease, now)
            return
        state = self._slots[request.slot]
        if state.pending is not request:
            return
        state.pending, state.touched = None, now
        if lease is None:
            state.fresh = False
            return
        state.lease, state.since = lease, now
        until = request.sent + self.terms.duration - self.terms.margin
        if request.act is Act.TAKE and state.standing is Standing.IDLE:
            permit = Permit(lease.transitions, until, self._clock)
            if permit.holds():
                state.permit, state.standing, state.renewed = permit, Standing.HELD, request.sent
        elif request.act is Act.RENEW and state.permit is not None:
            state.permit.extend(until)
            state.renewed = request.sent

    def unanswered(self, request: Request, now: float) -> None:
        """Take in that it is not known what a request has come to. Its answer is not waited for any more."""
        if request.slot is None:
            if self._joining is request:
                self._joining, self._touched, self._known = None, now, False
            return
        state = self._slots[request.slot]
        if state.pending is request:
            state.pending, state.touched, state.fresh = None, now, False

    def _membership(self, request: Request, lease: Lease | None, now: float) -> None:
        if self._joining is not request:
            return
        self._joining, self._touched = None, now
        if request.act is Act.LEAVE:
            self._joined, self._version = None, ""
        elif lease is not None:
            self._joined, self._version = request.sent, lease.version
        else:
            # Somebody has deleted it, or a request that was given up has made it after all.
            self._known = False

    def drained(self, slot: int) -> None:
        """Take in that nothing works on a slot any more that was draining or cut."""
        state = self._slots[slot]
        if state.permit is not None:
            state.permit.revoke()
        state.permit, state.standing = None, Standing.IDLE

    def restate(self, slot: int) -> None:
        """Renew a slot soon, for there is more to be said in its lease."""
        self._slots[slot].restate = True

    def leave(self) -> None:
        """Give everything back, and take nothing any more."""
        self._leaving = True

    # What to do.

    def decide(self, now: float) -> list[Request]:
        """Return what is to be asked of the API server now. Each must be told of by `answered` or `unanswered`."""
        if self._looked is None:
            return []
        requests = self._about_membership(now)
        for number in range(len(self._slots)):
            self.standing(number)
        share = self._share(now)
        held = [number for number, it in enumerate(self._slots) if it.standing is Standing.HELD]
        for number in preferred(self.identity, held)[share:]:
            self._slots[number].standing = Standing.DRAINING
        wanted = self._wanted(now, share - len(held))
        for number, state in enumerate(self._slots):
            if state.pending is not None or not state.fresh:
                continue
            act = self._act(state, now, wanted=number in wanted)
            if act is None:
                continue
            lease = state.lease or Lease("", "", 0.0, 0)
            transitions = lease.transitions + (act is Act.TAKE)
            state.pending = Request(act, number, lease.version, transitions, now, next(self._numbers))
            state.restate = False
            requests.append(state.pending)
        return requests

    def _about_membership(self, now: float) -> list[Request]:
        if self._joining is not None or not self._known:
            return []
        if self._leaving:
            if self._joined is None:
                return []
            act = Act.LEAVE
        elif self._looked is None or now - self._looked > self.terms.duration:
            # Whoever cannot see what is free would only keep it from others.
            return []
        elif self._joined is None or not self._version or now >= self._joined + self.terms.renewal:
            act = Act.JOIN
        else:
            return []
        self._joining = Request(act, None, self._version, 0, now, next(self._numbers))
        return [self._joining]

    def live(self, now: float) -> set[str]:
        """Return who takes part, as far as is known: those whose membership has changed within a duration."""
        there = {name for name, (_, since) in self._members.items() if now - since < self.terms.duration}
        return there | {self.identity} if self.joined() else there

    def _share(self, now: float) -> int:
        if self._leaving or self._joined is None:
            return 0
        return quota(self.identity, self.live(now), len(self._slots))

    def _wanted(self, now: float, lacking: int) -> set[int]:
        """Return the idle slots that are to be taken now."""
        assert self._looked is not None
        if self._leaving or self._joined is None or now - self._looked > 2 * self.terms.look + self.terms.patience:
            return set()
        taking = sum(it.pending is not None and it.pending.act is Act.TAKE for it in self._slots)
        idle = [number for number, it in enumerate(self._slots) if it.standing is Standing.IDLE and it.pending is None]
        takeable = [number for number in idle if self._free(self._slots[number], now)]
        wanted = preferred(self.identity, takeable)[: max(0, lacking - taking)]
        # Those of the dead are for everybody after a while: whoever lacks slots may have come too late to know.
        late = [it for it in takeable if self._abandoned(self._slots[it], now - self.terms.courtesy)]
        return {*wanted, *late}

    def _free(self, state: _Slot, now: float) -> bool:
        if state.lease is None:
            # Whoever had it may not know yet that it is gone.
            return not state.vanished or now - state.since >= self.terms.duration
        return state.lease.holder in {"", self.identity} or self._abandoned(state, now)

    def _abandoned(self, state: _Slot, now: float) -> bool:
        """Return whether another one holds a slot and has not renewed it for its whole duration."""
        lease = state.lease
        if lease is None or lease.holder in {"", self.identity}:
            return False
        return now - state.since >= max(self.terms.duration, lease.duration)

    def _act(self, state: _Slot, now: float, *, wanted: bool) -> Act | None:
        if state.standing is Standing.IDLE:
            if wanted:
                return Act.TAKE
            return Act.RELEASE if self._ours(state) else None
        if state.standing is Standing.CUT:
            return None
        due = state.renewed + (self.terms.look if state.restate else self.terms.renewal)
        return Act.RENEW if now >= due else None
