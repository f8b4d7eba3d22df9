"""Owns connectors at work: supervision, schedules, retries, the ledger's entries and the figures."""

from headwater.engine.engine import Engine, running

__all__ = ["Engine", "running"]
