"""Owns the time limit of Python functions: an exception that is raised in the thread that runs one for too long.

CPython's only means is an exception that arrives in another thread at an unknown moment: inside a lock's `with`, inside
a handler, or after the work has ended. So nothing here holds a lock, and an end waits until the exception that may be
under way has arrived.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TypeVar

_Result = TypeVar("_Result")
_AGAIN = 0.1  # seconds until it is raised again in a function that has caught it


class ExpiredError(BaseException):
    """Raised in a function that runs too long. Not an Exception, so that a function does not catch it by accident."""


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns. Raises ExpiredError when it takes longer, also when it has caught what told it so.

    Python code is stopped where it is, a call into C after it returns.
    """
    limit = _Limit(seconds)
    try:
        try:
            _watch.add(limit)
            result = work()
        finally:
            over = limit.end()
    except ExpiredError:
        # It may have come just before `end` began.
        limit.end()
        raise
    finally:
        _watch.remove(limit)
    if over:
        raise ExpiredError
    return result


class _Limit:
    """The time of one call: the watch fires, and the thread of the call ends it."""

    def __init__(self, seconds: float) -> None:
        self.due = monotonic() + seconds
        self._thread = threading.get_ident()
        self.ended = False
        self._firing = False
        self._fired = False

    def fire(self) -> None:
        """Raise in the thread, unless the call has ended. Called by the watch alone."""
        self._firing = True
        if not self.ended:
            self._fired = True
            self.due = monotonic() + _AGAIN
            _raise_in(self._thread)
        self._firing = False

    def end(self) -> bool:
        """Return whether the time was over. From now on nothing is raised, and nothing is under way."""
        settled = False
        while True:
            try:
                self.ended = True
                while self._firing:
                    sleep(0)
                settled = True
                while self._fired:
                    # What has not arrived yet arrives here, or is replaced by this. It could be taken back too, but
                    # CPython 3.11 would look for it at every turn from then on.
                    _raise_in(self._thread)
            except ExpiredError:
                if settled:
                    return True
            else:
                return False


class _Watch:
    """The thread that looks at the limits of all others."""

    def __init__(self) -> None:
        self._limits: dict[_Limit, None] = {}
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._wakes = inf  # when the thread looks next without being called
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, limit: _Limit) -> None:
        if self._thread is None:
            # The one lock here, held while there is nobody who could raise anything.
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="headwater-watch", daemon=True)
                    self._thread.start()
        self._limits[limit] = None
        if limit.due < self._wakes:
            self._calls.put(None)

    def remove(self, limit: _Limit) -> None:
        self._limits.pop(limit, None)

    def _run(self) -> None:
        # While an exception is under way to one thread, CPython 3.11 keeps every other traced one turning round.
        sys.settrace(None)
        while True:
            # Said before looking: a limit that is added from here on calls, or was seen.
            self._wakes = inf
            nearest = inf
            now = monotonic()
            for limit in list(self._limits):
                if limit.due <= now:
                    limit.fire()
                nearest = min(nearest, limit.due)
            self._wakes = nearest
            with suppress(Empty):
                self._calls.get(timeout=None if nearest == inf else max(0.001, nearest - monotonic()))


_watch = _Watch()


def _raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(ExpiredError))
