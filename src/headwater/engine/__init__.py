"""Owns connectors at work: supervision, schedules, retries, the ledger's entries and the figures."""

from headwater.engine.engine import Engine, refuse

__all__ = ["Engine", "refuse"]
