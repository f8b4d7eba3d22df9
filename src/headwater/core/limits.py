"""Owns how many files the process may have open. Nothing else of the system is touched."""

from __future__ import annotations

import errno
import resource
import socket

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


def file_left() -> bool:
    """Return whether one more file may be opened at this moment."""
    try:
        socket.socket().close()
    except OSError as error:
        return not no_file(error)
    return True


def no_file(error: OSError) -> bool:
    """Return whether an error is that no more files may be open, in this process or all together."""
    return error.errno in {errno.EMFILE, errno.ENFILE}
