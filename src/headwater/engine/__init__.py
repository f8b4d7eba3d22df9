"""Owns connectors at work: supervision, schedules, retries, the ledger's entries and the figures."""

from headwater.engine.engine import Engine, refuse, running

__all__ = ["Engine", "refuse", "running"]
