"""Owns how log lines look: for people on a terminal, JSON otherwise or on request. Always on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "human", "json")


def configure_logs(
    form: str, level: str, *, stream: TextIO | None = None, tap: structlog.typing.Processor | None = None
) -> None:
    """Set up structlog for the process. `form` is one of FORMATS, `level` one of LEVELS; `tap` sees every line."""
    target = sys.stderr if stream is None else stream
    human = form == "human" or (form == "auto" and target.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        *(() if tap is None else (tap,)),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
    ]
    if human:
        processors.append(structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=0))
    else:
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
