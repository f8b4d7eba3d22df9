"""Owns the options of `adaptive:`: an interval that follows how often things change. The pace itself is a source's."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from headwater.config.fields import Duration, Options

# Without a slowest interval it is so many usual ones.
SLOWEST = 10


class AdaptiveOptions(Options):
    """How the interval follows the changes: shorter after a round that shows one, longer after one that does not."""

    fastest: Duration | None = Field(
        None, description="The shortest interval. Default: the interval itself.", examples=["5s"]
    )
    slowest: Duration | None = Field(
        None, description="The longest interval. Default: ten times the interval.", examples=["10m"]
    )
    faster: float = Field(
        2.0, ge=1, le=100, description="A change divides the interval by this; 1 never shortens it.", examples=[4]
    )
    slower: float = Field(
        1.5, ge=1, le=100, description="No change multiplies it by this; 1 never lengthens it.", examples=[1.2]
    )
    cache_control: bool = Field(
        False,
        description="Never ask before the last answer is stale, by its Cache-Control, Expires and Age; "
        "`slowest` bounds that.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("fastest", "slowest"):
            value = getattr(self, name)
            if value is not None and value < timedelta(milliseconds=1):
                raise ValueError(f"{name} must be 1ms at least")
        if self.fastest is not None and self.slowest is not None and self.slowest < self.fastest:
            raise ValueError("slowest is shorter than fastest")
        return self

    def bounds(self, usual: timedelta) -> tuple[timedelta, timedelta]:
        """Return the shortest and the longest interval of a connector whose usual one is given."""
        fastest = usual if self.fastest is None else self.fastest
        if self.fastest is None and self.slowest is not None:
            fastest = min(usual, self.slowest)
        slowest = max(fastest, usual * SLOWEST) if self.slowest is None else self.slowest
        return fastest, slowest
