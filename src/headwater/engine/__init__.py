"""Owns connectors at work: supervision, schedules, retries, the ledger's entries and the figures."""
