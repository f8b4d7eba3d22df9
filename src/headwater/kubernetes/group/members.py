"""Owns what the ConfigMap of a connector in a group says of it. Pure: where it is read from is elsewhere."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from headwater.core.managed import Phase
from headwater.kubernetes import names

_DIGITS = 10
_LONGEST_REASON = 300
# What all annotations of an object may have together is a little more (bytes).
_MOST_STATES = 200_000


class Member(msgspec.Struct, frozen=True):
    """A connector of a group as its ConfigMap has it.

    `secret` names the Secret with its values, "" for none. `restarted` is when somebody asked for a new start.
    """

    name: str
    text: str
    secret: str = ""
    secrets: tuple[str, ...] = ()
    paused: bool = False
    restarted: str = ""

    @property
    def checksum(self) -> str:
        """What changes with all but `paused`: whoever runs another one is to begin anew."""
        said = msgspec.json.encode([self.text, self.secret, self.restarted])
        return hashlib.sha256(said).hexdigest()[:_DIGITS]


def member_of(config_map: dict[str, Any]) -> Member | None:
    """Read a ConfigMap; None when it is not one of a connector."""
    metadata = config_map.get("metadata") or {}
    name = (metadata.get("labels") or {}).get(names.CONNECTOR, "")
    if not name or metadata.get("name") != names.member_name(name):
        return None
    annotations = metadata.get("annotations") or {}
    return Member(
        name,
        (config_map.get("data") or {}).get(names.CONFIG_KEY, ""),
        annotations.get(names.SECRET, ""),
        tuple(annotations.get(names.SECRETS, "").split()),
        annotations.get(names.PAUSED) == "true",
        annotations.get(names.RESTARTED, ""),
    )


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What whoever works on a connector says of it, by the Lease of its slot. `checksum` is the Member's.

    `since` is ms since the Unix epoch.
    """

    status: Phase = Phase.RUNNING
    reason: str = ""
    since: int | None = None
    checksum: str = ""


_DECODER = msgspec.json.Decoder(dict[str, Told])


def encode_states(states: dict[str, Told]) -> str:
    """Encode what is said of a slot's connectors as an annotation; when it is too much, of the troubled ones only."""
    short = {
        name: msgspec.structs.replace(told, reason=told.reason[:_LONGEST_REASON])
        for name, told in sorted(states.items())
    }
    text = msgspec.json.encode(short)
    while len(text) > _MOST_STATES:
        troubled = {name: told for name, told in short.items() if told.status is not Phase.RUNNING}
        short = troubled if len(troubled) < len(short) else dict(list(short.items())[: len(short) // 2])
        text = msgspec.json.encode(short)
    return text.decode()


def decode_states(text: str) -> dict[str, Told]:
    """Decode what `encode_states` wrote; what does not decode says nothing."""
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError:
        return {}
