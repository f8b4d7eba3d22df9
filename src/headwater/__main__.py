"""Owns the entry point of the command. Imports as little as it can: `headwater --help` must be instant."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from headwater.cli.app import headwater  # noqa: PLC0415 - a failing import must not cost `import headwater` anything
    from headwater.cli.boundary import guarded  # noqa: PLC0415 - the same

    sys.exit(guarded(headwater))


if __name__ == "__main__":
    main()
