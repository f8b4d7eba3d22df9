"""Owns the options of `retry:` and `restart:`: what follows a request that failed, and a connector that crashed.

When the next attempt is made is `sources.retry`'s to say.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from headwater.config.fields import Duration, Options


class RetryOptions(Options):
    """How a failed request is sent again inside its interval."""

    attempts: int = Field(
        5, ge=1, le=100, description="How often a poll is tried in all; 1 never retries.", examples=[3]
    )
    initial: Duration = Field(
        timedelta(seconds=0.5), description="The first pause; it doubles each time.", examples=["1s"]
    )
    max: Duration = Field(timedelta(seconds=30), description="The longest pause.", examples=["10s"])
    retry_after_max: Duration = Field(
        timedelta(hours=1), description="The longest Retry-After of a 429 or 503 that is obeyed.", examples=["5m"]
    )


class RestartOptions(Options):
    """What becomes of a connector that crashed: a defect, or a log that refuses for good. Failed requests are none."""

    attempts: int | None = Field(
        None, ge=0, description="How often it is started again in a row. Default: always.", examples=[5]
    )
    initial: Duration = Field(
        timedelta(seconds=1), description="The first pause; it doubles each time.", examples=["5s"]
    )
    max: Duration = Field(timedelta(minutes=1), description="The longest pause.", examples=["10m"])
    reset: Duration = Field(
        timedelta(minutes=10), description="After so long without a crash the pauses begin anew.", examples=["1h"]
    )
