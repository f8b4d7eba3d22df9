"""Owns what goes over the control API, as values; both of its ends import them, and nothing that serves or asks."""

from __future__ import annotations

import msgspec

from headwater.config import Problem
from headwater.core.exchange import Exchange
from headwater.core.managed import ManagedConnector


class Connectors(msgspec.Struct, frozen=True):
    """A list of connectors."""

    connectors: list[ManagedConnector]


class Entries(msgspec.Struct, frozen=True):
    """Entries of the ledger, newest last."""

    entries: list[Exchange]


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A connector as it is to be: the text of its connect.yml, one document, and the values of its secrets.

    Values that stand in the text itself are taken out of it. `file` is where it was read from, where relative paths
    begin.
    """

    text: str
    secrets: dict[str, str] = {}
    file: str = ""


class Standing(msgspec.Struct, frozen=True):
    """What serves here."""

    version: str
    connectors: int
    data: str


class Refusal(msgspec.Struct, frozen=True):
    """Why something was not done: a word for programs, a sentence and a hint for people, the problems of a text."""

    error: str
    message: str
    hint: str = ""
    problems: list[Problem] = []
