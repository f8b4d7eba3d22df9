"""Owns the options of `reconnect:`: how soon a stream's connection follows the one before.

Drawing the pauses is the engine's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, field_validator, model_validator

from headwater.config.fields import Duration, Options, positive


class ReconnectOptions(Options):
    """How soon a connection follows one that has ended or could not be begun: after growing pauses with jitter."""

    initial: Duration = Field(
        timedelta(milliseconds=500),
        description="The first pause at most; it doubles each time. A pause is any part of it, by chance.",
        examples=["1s"],
    )
    max: Duration = Field(timedelta(seconds=30), description="The longest pause.", examples=["5m"])
    healthy: Duration = Field(
        timedelta(seconds=30),
        description="After a connection that has lasted so long the pauses begin anew.",
        examples=["2m"],
    )

    @field_validator("initial", "max", "healthy")
    @classmethod
    def _check_positive(cls, value: timedelta) -> timedelta:
        return positive(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max < self.initial:
            raise ValueError("max is shorter than initial")
        return self
