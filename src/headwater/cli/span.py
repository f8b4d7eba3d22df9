"""Owns which records of a partition a command is to read: from where, up to where, and how far it has got. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Span:
    """What is still to be read of one partition: from `position` up to `end`, exclusive; None follows for ever."""

    partition: int
    position: int
    end: int | None

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.end is not None and self.position >= self.end


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: at most one of the four is set; none means the end."""

    beginning: bool = False
    head: int | None = None
    tail: int | None = None
    start: int | None = None

    def offset(self, first: int, end: int) -> int:
        """Return the first offset to read of a partition that holds `first` up to `end`."""
        if self.beginning:
            return first
        if self.head is not None:
            return min(first + self.head, end)
        if self.tail is not None:
            return max(first, end - self.tail)
        if self.start is not None:
            return max(first, self.start)
        return end
