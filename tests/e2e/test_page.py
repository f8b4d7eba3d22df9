"""The page's two ways, verbatim apart from the program's name, against an endpoint of the page's own name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import e2e.pageworld as world
import worlds


def lived(way: str, directory: Path) -> dict[str, Any]:
    """Go one of the ways in a world of its own; return what came of it."""
    found: dict[str, Any] = worlds.lived(world.__file__, way, directory)
    return found


def test_managed(tmp_path: Path) -> None:
    """`connector create --config=./connect.yml` with the page's text: created, listed as running, records there."""
    found = lived("managed", tmp_path)
    assert found["created"] == 'connector "cat-facts" created\n'
    assert "a line `parameters:` is missing below it; read as" in found["said"]
    assert found["record"] == f"{world.FACT}\n"
    assert found["listed"].split() == ["NAME", "TYPE", "VERSION", "STATUS", "cat-facts", "http", "latest", "Running"]
    assert found["endpoint"] == "127.0.0.1:9003"
    assert found["status"] == 0


def test_local(tmp_path: Path) -> None:
    """The arguments of the page's container, the bare `--` before them: records are in the topic that they name."""
    assert lived("local", tmp_path) == {"record": f"{world.FACT}\n", "status": 0}


def test_what_the_documentation_types(tmp_path: Path) -> None:
    """Every command of docs/on-one-machine.md prints what the page shows; `...` stands for anything in a line."""
    found = lived("documented", tmp_path)
    assert len(found["typed"]) == 15
    for command, shown, printed in found["typed"]:
        pattern = ".*".join(map(re.escape, shown.rstrip("\n").split("...")))
        assert re.fullmatch(pattern, printed.rstrip("\n")), f"$ {command}\n{printed}"
    assert found["status"] == 0
