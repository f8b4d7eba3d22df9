"""Owns the entry point of the container's image: which command the arguments of `docker run` mean, and PID 1's signals.

`python -m headwater.cli.container ARGUMENTS...`
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from headwater.cli.app import headwater
from headwater.cli.boundary import guarded

TERMINATED = 128 + signal.SIGTERM
# `docker stop` and Kubernetes' old connectors kill after ten seconds: what is under way has to end before that.
GRACE = "8s"


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of `headwater`: what begins with a flag, or the page's bare `--`, is its local connector."""
    first = arguments[0] if arguments else ""
    if first == "--":
        return ["http", *arguments[1:]]
    return ["http", *arguments] if first.startswith("-") and first not in _flags_of_all() else list(arguments)


def _flags_of_all() -> set[str]:
    """Return the flags that need no command: help and version."""
    context = headwater.make_context("headwater", [], resilient_parsing=True)
    return {name for parameter in headwater.get_params(context) for name in parameter.opts}


def _end(*_: object) -> None:
    sys.exit(TERMINATED)


def main() -> None:
    """Run the command line and exit with its status."""
    if os.getpid() == 1:
        # The kernel gives the first process of a container no signal that it does not ask for, and `docker stop` would
        # wait in vain. Commands that serve ask by themselves, once they do.
        signal.signal(signal.SIGTERM, _end)
    headwater.context_settings["default_map"] = {name: {"grace": GRACE} for name in ("run", "http")}
    sys.argv = ["headwater", *command_line(sys.argv[1:])]
    sys.exit(guarded(headwater))


if __name__ == "__main__":
    main()
