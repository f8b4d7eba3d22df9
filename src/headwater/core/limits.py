"""Owns how many files the process may have open. Nothing else of the system is touched."""

from __future__ import annotations

import resource

# More than this brings nothing and makes some libraries slow to close what they might have inherited.
_ENOUGH = 65_536


def raise_file_limit() -> int:
    """Raise the soft limit on open files as far as the hard one allows; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        return wanted
    return soft
