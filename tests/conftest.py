"""What all tests share: asynchronous tests run in a fresh event loop of their own."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes is no matter of tests: machines are busy. `make coverage` has more of them than `make test`.
# Both are the same for everybody; `wild` looks for what nobody has found yet, and prints how to have it again.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("thorough", deadline=None, derandomize=True)
settings.register_profile("wild", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what stays to the end: thousands of tests, with all that they import."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests to their end, within a minute; campaigns within ten."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        async with asyncio.timeout(60 if pyfuncitem.get_closest_marker("long") is None else 600):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True
