"""Slots and their leases, simulated: pods that stop, freeze, die and come back, over an API that loses and delays."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.kubernetes.group.claims import Act, Claims, Lease, Request, Standing, Terms
from headwater.kubernetes.group.slots import SLOTS, preferred, quota, slot_of

BOUND = 20.0
"""Within so many seconds of a death everything is owned again."""
STEP = 0.25


class Api:
    """The leases as an API server has them: each change needs the version that it changes."""

    def __init__(self) -> None:
        self.slots: dict[int, Lease] = {}
        self.members: dict[str, str] = {}
        self._versions = count(1)
        self.fences: dict[int, int] = {}

    def apply(self, identity: str, request: Request) -> Lease | None:
        """Change a lease, and return it as it is then; None when it is another one by now."""
        version = str(next(self._versions))
        if request.slot is None:
            if request.act is Act.LEAVE:
                self.members.pop(identity, None)
                return Lease("", "", 0, 0)
            if self.members.get(identity, "") != request.version:
                return None
            self.members[identity] = version
            return Lease(version, identity, 10, 0)
        before = self.slots.get(request.slot)
        if (before.version if before else "") != request.version:
            return None
        holder = "" if request.act is Act.RELEASE else identity
        made = self.slots[request.slot] = Lease(version, holder, 10, request.transitions)
        if request.act is Act.TAKE:
            assert request.transitions > self.fences.get(request.slot, 0)
            self.fences[request.slot] = request.transitions
        return made


class SimulatedPod:
    """One process: its claims, its clock, and the connectors that it stands for."""

    def __init__(self, world: World, name: str, offset: float, rate: float) -> None:
        self.world, self.name, self.offset, self.rate = world, name, offset, rate
        self.claims = Claims(name, world.slots, self.clock)
        self.dead = self.leaving = False
        self.frozen_until = 0.0
        self.draining: set[int] = set()

    def clock(self) -> float:
        """Return its own time, which has nothing to do with that of others."""
        return self.offset + self.world.now * self.rate

    def works(self, slot: int) -> bool:
        """Return whether a request could leave now, if the process did anything now."""
        permit = self.claims.permit(slot)
        return not self.dead and permit is not None and permit.holds()

    def run(self) -> None:
        """Do what the worker does each second: look, then ask, and end what is to end."""
        if self.dead:
            return
        world = self.world
        world.after(self.claims.terms.look, self, self.run)
        asked = self.clock()
        world.call(self, lambda: (dict(world.api.slots), dict(world.api.members)), lambda it: self._seen(asked, it))

    def _seen(self, asked: float, found: tuple[dict[int, Lease], dict[str, str]] | None) -> None:
        if found is not None:
            self.claims.observe(*found, asked, self.clock())
        self.act()

    def act(self) -> None:
        """Ask for what is due, and end what is to end."""
        for request in self.claims.decide(self.clock()):
            self._ask(request)
        for slot in range(self.world.slots):
            standing = self.claims.standing(slot)
            if standing in {Standing.DRAINING, Standing.CUT} and slot not in self.draining:
                self.draining.add(slot)
                delay = self.world.chance.uniform(0, 3) if standing is Standing.DRAINING else 0.1
                self.world.after(delay, self, lambda slot=slot: self._drained(slot))  # type: ignore[misc]

    def _drained(self, slot: int) -> None:
        self.draining.discard(slot)
        self.claims.drained(slot)
        self.act()

    def _ask(self, request: Request) -> None:
        def heard(lease: Lease | str | None) -> None:
            if lease == "unknown":
                self.claims.unanswered(request, self.clock())
            else:
                assert not isinstance(lease, str)
                self.claims.answered(request, lease, self.clock())

        self.world.call(self, lambda: self.world.api.apply(self.name, request), heard, lost="unknown")


class World:
    """Time, the API, and all pods. `loss` is how many of a thousand requests go wrong."""

    def __init__(self, seed: int, slots: int = SLOTS, loss: int = 0) -> None:
        self.now = 0.0
        self.slots = slots
        self.chance = random.Random(seed)
        self.loss = loss
        self.api = Api()
        self.away_until = 0.0
        self.pods: list[SimulatedPod] = []
        self._queue: list[tuple[float, int, SimulatedPod | None, Callable[[], None]]] = []
        self._order = count()

    def add(self) -> SimulatedPod:
        """Start another pod."""
        pod = SimulatedPod(
            self,
            f"pod-{len(self.pods)}-{self.chance.random():.5f}",
            self.chance.uniform(-1e6, 1e6),
            self.chance.uniform(0.99, 1.01),
        )
        self.pods.append(pod)
        self.after(self.chance.uniform(0, 1), pod, pod.run)
        return pod

    def after(self, delay: float, pod: SimulatedPod | None, callback: Callable[[], None]) -> None:
        """Call back in so many seconds; not while the pod is frozen, and never once it is dead."""
        heapq.heappush(self._queue, (self.now + delay, next(self._order), pod, callback))

    def call(
        self, pod: SimulatedPod, work: Callable[[], object], heard: Callable[..., None], lost: object = None
    ) -> None:
        """Ask the API: the request takes its time, and so does the answer; either may be lost or very late."""
        patience = pod.claims.terms.patience
        bad = self.chance.randrange(1000) < self.loss
        there, back = self.chance.uniform(0.001, 0.2), self.chance.uniform(0.001, 0.2)
        if bad:
            slow = self.chance.uniform(0, 2)
            ways = [(there, 1e9), (1e9, back), (self.chance.uniform(0, 60), back), (there, slow), (slow, back)]
            there, back = self.chance.choice(ways)
        done: list[object] = []

        def applied() -> None:
            if self.now < self.away_until:
                return
            answer = work()
            self.after(back, pod, lambda: tell(answer))

        def tell(answer: object) -> None:
            if not done:
                done.append(True)
                heard(answer)

        self.after(there, None, applied)
        self.after(patience, pod, lambda: tell(lost))

    def run(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        while self.now < end:
            step = min(end, self.now + STEP)
            while self._queue and self._queue[0][0] <= step:
                at, _, pod, callback = heapq.heappop(self._queue)
                self.now = max(self.now, at)
                self.check()
                if pod is None or not pod.dead:
                    if pod is not None and pod.frozen_until > self.now:
                        heapq.heappush(self._queue, (pod.frozen_until, next(self._order), pod, callback))
                    else:
                        callback()
                        self.check()
            self.now = step
            self.check()

    def check(self) -> None:
        """No two pods may work on one slot, whatever has happened."""
        for slot in range(self.slots):
            working = [pod.name for pod in self.pods if pod.works(slot)]
            assert len(working) <= 1, f"slot {slot} at {self.now:.2f}: {working}"

    def owned(self) -> int:
        """Return how many slots are worked on."""
        return sum(any(pod.works(slot) for pod in self.pods) for slot in range(self.slots))

    def shares(self) -> list[int]:
        """Return how many slots each pod that is to stay works on."""
        return [
            sum(pod.works(slot) for slot in range(self.slots)) for pod in self.pods if not pod.dead and not pod.leaving
        ]


FAULTS = st.sampled_from(["die", "freeze", "leave", "join", "away"])


TROUBLE = given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(0, 150),
    st.lists(st.tuples(FAULTS, st.floats(0.0, 30.0), st.floats(0.5, 40.0), st.integers(0, 10)), max_size=8),
)
DEATH = given(st.integers(0, 2**32), st.integers(2, 5), st.integers(0, 30), st.none() | st.floats(0, 12))
MANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=1500)
FEW = settings(MANY, max_examples=30)


@FEW
@TROUBLE
def test_no_slot_has_two_and_all_are_owned_again(
    seed: int, pods: int, loss: int, faults: list[tuple[str, float, float, int]]
) -> None:
    """Whatever dies, freezes, joins or leaves over a bad network: never two on a slot, and fair shares in the end."""
    trouble(seed, pods, loss, faults)


@pytest.mark.long
@MANY
@TROUBLE
def test_no_slot_has_two_campaign(seed: int, pods: int, loss: int, faults: list[tuple[str, float, float, int]]) -> None:
    """The same, in very many ways."""
    trouble(seed, pods, loss, faults)


def trouble(seed: int, pods: int, loss: int, faults: list[tuple[str, float, float, int]]) -> None:
    """Let pods share slots while such things happen to them, so many seconds after each other and for so long."""
    world = World(seed, slots=7, loss=loss)
    for _ in range(pods):
        world.add()
    for fault, gap, length, which in faults:
        world.run(gap)
        pod = world.pods[which % len(world.pods)]
        if fault == "die":
            pod.dead = True
        elif fault == "freeze":
            pod.frozen_until = world.now + length
        elif fault == "leave":
            pod.leaving = True
            pod.claims.leave()
        elif fault == "away":
            world.away_until = world.now + length
        else:
            world.add()
    if not world.shares():
        world.add()
    world.loss = 0
    # The latest fault may last so long, and a late request is on its way for as long.
    world.run(60)
    world.run(45)
    assert world.owned() == world.slots
    shares = world.shares()
    assert max(shares) - min(shares) <= 1
    for pod in world.pods:
        assert pod.dead or not pod.leaving or pod.claims.left()


@FEW
@DEATH
def test_the_slots_of_the_dead_are_owned_in_time(seed: int, pods: int, loss: int, replacement: float | None) -> None:
    """Whenever a pod dies, and whenever the one that replaces it comes, every slot is owned again within 20 s."""
    death(seed, pods, loss, replacement)


@pytest.mark.long
@MANY
@DEATH
def test_the_slots_of_the_dead_campaign(seed: int, pods: int, loss: int, replacement: float | None) -> None:
    """The same, at very many moments."""
    death(seed, pods, loss, replacement)


def death(seed: int, pods: int, loss: int, replacement: float | None) -> None:
    """Let one of several pods die, and another one come in its place so many seconds later."""
    world = World(seed, loss=loss)
    for _ in range(pods):
        world.add()
    world.run(30 + world.chance.uniform(0, 2))
    world.loss = 0
    world.run(6)
    victim = world.chance.choice(world.pods)
    assert world.owned() == world.slots
    victim.dead, died = True, world.now
    if replacement is not None:
        world.run(replacement)
        world.add()
    # What is handed over in peace after that is away for a moment, so each counts from when it was seen.
    left = set(range(world.slots))
    while left:
        world.run(STEP)
        assert world.now - died <= BOUND, left
        left -= {slot for slot in left if any(pod.works(slot) for pod in world.pods)}
    world.run(15)
    assert world.owned() == world.slots
    assert max(world.shares()) - min(world.shares()) <= 1


@settings(FEW, max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_rollout_waits_for_no_lease(seed: int, pods: int) -> None:
    """One after the other a new pod comes and an old one leaves: slots lack one no longer than a drain."""
    world = World(seed)
    for _ in range(pods):
        world.add()
    world.run(30)
    since = [world.now] * world.slots
    for old in world.pods[:pods]:
        world.add()
        world.run(5)
        old.leaving = True
        old.claims.leave()
        for _ in range(60):
            world.run(0.25)
            for slot in range(world.slots):
                if any(pod.works(slot) for pod in world.pods):
                    since[slot] = world.now
                assert world.now - since[slot] < world.pods[0].claims.terms.duration - 3
        assert old.claims.left()


def test_a_pod_that_was_frozen_may_nothing() -> None:
    """The moment it goes on it finds its permits ended, even before it has heard of anything."""
    world = World(1)
    world.add(), world.add()
    world.run(20)
    pod = world.pods[0]
    permits = [permit for slot in range(world.slots) if (permit := pod.claims.permit(slot)) is not None]
    assert len(permits) == world.slots // 2
    pod.frozen_until = world.now + 100
    world.run(20)
    assert world.pods[1].claims.standing(0) is Standing.HELD
    assert not any(permit.holds() for permit in permits)
    assert world.owned() == world.slots


def test_without_the_api_work_goes_on_as_long_as_leases_hold() -> None:
    """Then it stops by itself, and goes on when the API is back."""
    world = World(2)
    world.add()
    world.run(10)
    world.away_until = world.now + 60
    terms = Terms()
    world.run(terms.duration - terms.margin - terms.renewal - 0.5)
    assert world.owned() == world.slots
    world.run(terms.renewal + 1)
    assert world.owned() == 0
    world.run(60)
    assert world.owned() == world.slots


def test_what_others_have_written_by_hand_is_obeyed() -> None:
    """A lease that is deleted, or given to somebody else by hand, ends the work on its slot at the next look."""
    world = World(3)
    pod = world.add()
    world.run(10)
    world.api.slots[0] = Lease("by-hand", "somebody", 10, 99)
    world.run(2.5)
    assert not pod.works(0)
    world.run(20)
    assert pod.works(0)
    permit = pod.claims.permit(0)
    assert permit is not None
    assert permit.fence == 100


def test_a_lease_that_is_deleted_is_not_taken_at_once() -> None:
    """Whoever had it works until it sees that; another one waits for a whole duration, as if it had gone silent."""
    world = World(4)
    world.add(), world.add()
    world.run(20)
    for slot in range(world.slots):
        del world.api.slots[slot]
    world.api.fences.clear()
    world.run(3)
    assert world.owned() == 0
    world.run(20)
    assert world.owned() == world.slots


@given(st.sets(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=9), st.integers(1, 40))
def test_shares_are_fair(live: set[str], slots: int) -> None:
    """They add up to all slots, and differ by one at most."""
    shares = [quota(name, live, slots) for name in live]
    assert sum(shares) == slots
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("connector", "slot"), [("cats", 7), ("quotes", 3), ("cat-facts", 6)])
def test_slots_stay_where_they_are(connector: str, slot: int) -> None:
    """The slot of a name is the same for ever: pods of two versions must agree on it."""
    assert slot_of(connector, SLOTS) == slot


def test_preferences_differ() -> None:
    """Each pod takes the same slots in an order of its own."""
    orders = {tuple(preferred(f"pod-{number}", range(SLOTS))) for number in range(10)}
    assert len(orders) == 10
    assert all(sorted(order) == list(range(SLOTS)) for order in orders)
