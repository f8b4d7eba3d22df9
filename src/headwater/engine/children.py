"""Owns the requests about the items of an answer on their way: some at a time, through the gates, tried as is worth it.

What they are and what their answers mean is the source's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import FetchError, RequestError
from headwater.core.http import Fetcher, Request, Response
from headwater.core.moment import Moment
from headwater.engine.gate import Gate
from headwater.sources.children import MOST_BYTES, Child, Children, ChildrenError, refused, unrendered
from headwater.sources.judge import Action, Attempt, Verdict
from headwater.sources.reaped import Reaped
from headwater.sources.sifting import refusal

# Waits until a monotonic time, unless the connector is asked to stop: then it raises CancelledError.
Nap = Callable[[float], Awaitable[None]]


class Brood:
    """Asks for the children of one answer after the other. `chance` returns a random number in [0, 1).

    `count` is called with each attempt's outcome, `left` returns for how many seconds one may be tried.
    With `strict` a bad item among the children lets the answer fail.
    """

    __slots__ = ("_chance", "_children", "_clock", "_count", "_fetcher", "_gates", "_left", "_nap", "_strict")

    def __init__(
        self,
        children: Children,
        fetcher: Fetcher,
        gates: Sequence[Gate],
        clock: Clock,
        *,
        chance: Callable[[], float],
        left: Callable[[], float],
        nap: Nap,
        count: Callable[[Response | FetchError], None],
        strict: bool = False,
    ) -> None:
        self._children = children
        self._fetcher = fetcher
        self._gates = gates
        self._clock = clock
        self._chance = chance
        self._left = left
        self._nap = nap
        self._count = count
        self._strict = strict

    async def complete(
        self, reaped: Reaped, before: Checkpoint, scope: Mapping[str, Any], moment: Moment, at: str
    ) -> Reaped:
        """Return what an answer that came from `at` comes to with the children of its items.

        Where they cannot be had nothing of it is stored: `before` is what the next exchange begins with. Raises
        HeldError of a gate.
        """
        try:
            children = await self.ask(reaped.parents, scope, moment, at)
        except ChildrenError as error:
            return Reaped((), before, failure=error.reason, slug=error.slug, hint=error.hint)
        records, bad = self._children.records(reaped.parents, reaped.records, children)
        if self._strict and bad:
            return refusal(bad[0], before)
        count, asked = len(records), len(children)
        told = f"{count} record{'' if count == 1 else 's'} with the children of {asked} item{'' if asked == 1 else 's'}"
        return msgspec.structs.replace(
            reaped,
            records=records,
            checkpoint=msgspec.structs.replace(reaped.checkpoint, records=before.records + count),
            bad=[*reaped.bad, *bad],
            note="; ".join(it for it in (told, reaped.note) if it),
            parents=(),
        )

    async def ask(
        self, parents: Sequence[bytes | Raw], scope: Mapping[str, Any], moment: Moment, at: str
    ) -> list[Child]:
        """Ask about every item of an answer that came from `at`. Raises ChildrenError, or HeldError of a gate."""
        wanted = self._children.of(parents)
        waiting = iter(wanted)
        size = 0

        async def work() -> None:
            nonlocal size
            # Each takes the next one: no more tasks than requests that may be under way.
            for child in waiting:
                while not child.done:
                    before = child.size
                    await self._step(child, scope, moment, at)
                    size += child.size - before
                    if size > MOST_BYTES:
                        raise ChildrenError(
                            f"the children of one answer have more than {MOST_BYTES >> 20} MiB",
                            hint="ask for smaller pages of the items themselves",
                        )

        workers = [asyncio.create_task(work()) for _ in range(min(self._children.concurrency, len(wanted)))]
        try:
            if workers:
                await asyncio.gather(*workers)
        finally:
            # One failure is that of all: what the others still ask for would not be stored.
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return wanted

    async def _step(self, child: Child, scope: Mapping[str, Any], moment: Moment, at: str) -> None:
        """Ask for one page about one item, as often as is worth it."""
        number, renewed, request = 0, False, None
        while True:
            number += 1
            try:
                request = self._children.request(child, scope, at)
            except RequestError as error:
                raise unrendered(child, error) from error
            sent, outcome = await self._attempt(request)
            verdict = self._judge(outcome, number, renewed=renewed)
            if isinstance(outcome, Response) and verdict.action in {Action.STORE, Action.EMPTY}:
                empty = verdict.action is Action.EMPTY
                self._children.take(child, outcome, request, moment, empty=empty)
                return
            if verdict.action is Action.RETRY:
                await self._nap(self._clock.monotonic() + verdict.wait)
            elif verdict.action is not Action.REAUTHENTICATE or renewed or not await self._renew(sent):
                raise refused(child, request, verdict, outcome.hint if isinstance(outcome, FetchError) else "")
            else:
                renewed = True

    def _judge(self, outcome: Response | FetchError, number: int, *, renewed: bool) -> Verdict:
        if isinstance(outcome, Response):
            verdict = self._children.accept(outcome)
            if verdict is not None:
                return verdict
        attempt = Attempt(
            number=number,
            now=self._clock.time_ms() / 1000,
            left=self._left(),
            chance=self._chance(),
            renewed=renewed,
        )
        return self._children.judge(outcome, attempt)

    async def _attempt(self, request: Request) -> tuple[Request, Response | FetchError]:
        """Send a request once, when the gates let it; return it as it was sent, and what came of it."""
        passed: list[Gate] = []
        try:
            for gate in self._gates:
                request = await gate.admit(request, max(0.0, self._left()))
                passed.append(gate)
            outcome = await self._exchange(request)
        except FetchError as error:
            self._drop(passed, request)
            return request, error
        except BaseException:
            self._drop(passed, request)
            raise
        for gate in passed:
            gate.heard(request, outcome)
        self._count(outcome)
        return request, outcome

    @staticmethod
    def _drop(gates: Sequence[Gate], request: Request) -> None:
        for gate in gates:
            gate.dropped(request)

    async def _exchange(self, request: Request) -> Response | FetchError:
        answered: asyncio.Future[Response | FetchError] = asyncio.get_running_loop().create_future()
        exchange = self._fetcher.begin(request, partial(settle, answered))
        try:
            return await answered
        finally:
            exchange.cancel()

    async def _renew(self, request: Request) -> bool:
        return any([await gate.renew(request, max(0.0, self._left())) for gate in self._gates])
