"""Owns which names topics and connectors may have: Fluvio's rule. Knows nothing of whether they exist."""

from __future__ import annotations

import re

from headwater.core.errors import TopicNameError

LONGEST_NAME = 63
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def is_name(name: str) -> bool:
    """Return whether a name is one that Fluvio allows: lower-case letters, digits, inner hyphens, at most 63."""
    return len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def suggest_name(name: str) -> str:
    """Return the nearest allowed name, or an empty text when nothing of the name can be kept."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_NAME].strip("-")


def check_topic_name(name: str) -> None:
    """Raise TopicNameError, with the nearest allowed name, unless `name` may name a topic."""
    if not is_name(name):
        near = suggest_name(name)
        raise TopicNameError(
            f"invalid topic name: {name!r}; it may have lower-case letters, digits and inner hyphens, at most 63",
            hint=f"try {near}" if near else "",
        )
