"""Owns time zones as options name them."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator

from headwater.config.fields import plain_text


def _check(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone; write a name such as Europe/Berlin") from None
    return value


Zone = Annotated[str, BeforeValidator(plain_text), AfterValidator(_check)]
