"""Owns the environment that libcurl's Kerberos library reads: one cache of tickets and one keytab for a process."""

from __future__ import annotations

import os

from headwater.config.auth import NegotiateAuth

_KEYTAB, _CACHE, _CONFIG = "KRB5_CLIENT_KTNAME", "KRB5CCNAME", "KRB5_CONFIG"


def wanted(auth: NegotiateAuth) -> dict[str, str]:
    """Return the variables that a configuration asks for."""
    found: dict[str, str] = {}
    if auth.ccache is not None:
        found[_CACHE] = auth.ccache
    if auth.keytab is not None:
        found[_KEYTAB] = auth.keytab if ":" in auth.keytab else f"FILE:{auth.keytab}"
        # Tickets that a keytab gives need no file, which other processes might fill with another principal's.
        found.setdefault(_CACHE, os.environ.get(_CACHE) or "MEMORY:headwater")
    if auth.config_file is not None:
        found[_CONFIG] = auth.config_file
    return found


def conflict(auth: NegotiateAuth, others: list[NegotiateAuth]) -> str:
    """Return which variable two configurations want differently, empty when none."""
    mine = wanted(auth)
    for other in others:
        for name, value in wanted(other).items():
            if mine.get(name, value) != value:
                return name
    return ""


def use_kerberos(auth: NegotiateAuth) -> None:
    """Set the environment for the next exchange: the library reads it for each context anew."""
    os.environ.update(wanted(auth))
