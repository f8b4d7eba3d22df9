"""Owns `python -m headwater.sample [PORT]`: the sample API by itself, until Ctrl-C."""

from __future__ import annotations

import sys
import threading

from headwater.core.errors import HeadwaterError
from headwater.sample import SampleApi


def main() -> None:
    """Serve on the port of the first argument, 8321 without one."""
    given = sys.argv[1] if len(sys.argv) > 1 else "8321"
    if not given.isdigit():
        sys.exit(f"sample: {given!r} is not a port")
    try:
        with SampleApi(int(given)) as api:
            sys.stderr.write(f"serving {api.url}/fact; Ctrl-C stops\n")
            threading.Event().wait()
    except HeadwaterError as error:
        sys.exit(f"sample: {error}; {error.hint}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
