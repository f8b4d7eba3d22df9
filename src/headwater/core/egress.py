"""Owns which hosts and addresses may be connected to: a policy, and its pure decision. Does not resolve or connect."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """Where connections may go. `public`: only to addresses that are public; otherwise anywhere.

    `allow` wins over `public`, and `deny` over both.
    """

    public: bool = False
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
