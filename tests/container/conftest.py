"""What the tests of the image share: one engine for all of them, and the image that it has built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from container.engine import Engine, NoEngineError, install, refused

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Return an engine with the image `headwater`, built by the Dockerfile; skip where none can be had."""
    reason = refused(os.environ, os.geteuid())
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as cleanup:
        try:
            install()
            engine = cleanup.enter_context(Engine())
            base = engine.base()
        except NoEngineError as error:
            pytest.skip(f"no container engine: {error}")
        # From here on what fails is ours.
        engine.build(ROOT, base, "headwater")
        yield engine
