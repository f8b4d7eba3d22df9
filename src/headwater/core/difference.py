"""Owns what changes between two definitions, as people read it: a diff of the texts, and names of secrets. Pure."""

from __future__ import annotations

from difflib import unified_diff

from headwater.core.managed import Definition, Plan


def plan(name: str, before: Definition | None, after: Definition | None) -> Plan:
    """Return what the change from one definition to another is; None stands for no connector."""
    if before is None:
        action = "created"
    elif after is None:
        action = "deleted"
    else:
        action = "unchanged" if (before.text, before.secrets) == (after.text, after.secrets) else "updated"
    old, new = ("" if it is None else it.text for it in (before, after))
    lines = [line.rstrip("\n") for line in unified_diff(old.splitlines(), new.splitlines(), "now", "then", lineterm="")]
    return Plan(name, action, (*lines, *_secrets(before, after)))


def _secrets(before: Definition | None, after: Definition | None) -> list[str]:
    old = {} if before is None else before.secrets
    new = {} if after is None else after.secrets
    lines = [f"-secret {name}" for name in sorted(old.keys() - new.keys())]
    lines += [f"+secret {name}" for name in sorted(new.keys() - old.keys())]
    lines += [f"~secret {name}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return lines
