"""Owns what is wrong with a configuration, where, and what would be right. Finding it is the other modules' work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import msgspec

from headwater.core.errors import ConfigError


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, in the user's own words and place.

    `key` is the path in the file, such as `parameters.interval`. `line` and `column` count from 1; 0 is the file as a
    whole. A problem with `warning` set does not keep anything from running.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    suggestion: str = ""
    warning: bool = False

    def render(self) -> str:
        """Return the line that people and editors read: `connect.yml:7:3: error: key: message; suggestion`."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        what = "warning" if self.warning else "error"
        key = f"{self.key}: " if self.key else ""
        more = f"; {self.suggestion}" if self.suggestion else ""
        return f"{place}: {what}: {key}{self.message}{more}"


class InvalidConfigError(ConfigError):
    """Configurations cannot be used. `problems` holds every reason, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        )
        super().__init__("\n".join(problem.render() for problem in self.problems))

    def report(self) -> str:
        """Return the problems as editors read them, and nothing around them."""
        return self.message


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the known name nearest to `name`, or an empty text when none is near."""
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    found = get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[found[0]]!r}?" if found else ""
