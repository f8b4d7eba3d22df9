"""Owns what was found out about an endpoint: options with the reason for each, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import msgspec

from headwater.discover.asking import Ask


class Certainty(IntEnum):
    """How sure a finding is: a guess is written as a comment, to be looked at."""

    GUESS = 1
    LIKELY = 2
    SURE = 3


class Finding(msgspec.Struct, frozen=True):
    """An option of `http:` (`records.split`) with its value, and why.

    A `guess` becomes a comment in the file. Without an option it is a remark: the reason alone.
    """

    option: str
    value: Any
    reason: str
    certainty: Certainty = Certainty.LIKELY


def remark(reason: str) -> Finding:
    """Return a finding that is no option."""
    return Finding("", None, reason, Certainty.SURE)


class Draft(msgspec.Struct, frozen=True):
    """A connector to be written: what it asks for, and what was found out. A later finding of an option wins."""

    ask: Ask
    findings: tuple[Finding, ...] = ()
    # How many requests were sent for it; what its items are called in the answer.
    requests: int = 0
    about: str = ""

    def adding(self, findings: Iterable[Finding]) -> Draft:
        """Return a draft with more findings."""
        return msgspec.structs.replace(self, findings=(*self.findings, *findings))

    def chosen(self) -> dict[str, Finding]:
        """Return the findings by their options: of several the surest, else the last."""
        chosen: dict[str, Finding] = {}
        for finding in self.findings:
            before = chosen.get(finding.option)
            if finding.option and (before is None or finding.certainty >= before.certainty):
                chosen[finding.option] = finding
        return chosen

    def remarks(self) -> list[str]:
        """Return what is worth a word without being an option."""
        said = [*self.ask.notes, *(it.reason for it in self.findings if not it.option)]
        return list(dict.fromkeys(said))
