"""Owns where the user's home is, also for users who have none. The one thing of this layer that asks the system."""

from __future__ import annotations

from pathlib import Path

# Where Debian says that such users live; nothing is ever there.
NONE = Path("/nonexistent")


def home() -> Path:
    """Return the home of the user; `NONE` for one whom no list of users names, as services and containers have them."""
    try:
        return Path.home()
    except RuntimeError:
        return NONE
