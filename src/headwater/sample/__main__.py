"""Owns `python -m headwater.sample [[HOST:]PORT]`: the sample API by itself, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading

from headwater.core.errors import HeadwaterError
from headwater.sample import SampleApi


def main() -> None:
    """Serve on the address of the first argument; on port 8321 of loopback without one."""
    given = sys.argv[1] if len(sys.argv) > 1 else "8321"
    host, _, port = given.rpartition(":")
    if not port.isdigit():
        sys.exit(f"sample: {given!r} is not a port, with or without a host before it")
    # As the first process of a container it would not get the signal at all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with SampleApi(int(port), host or "127.0.0.1") as api:
            sys.stderr.write(f"serving {api.url}/fact; /stream, /events, /ws and /facts too; Ctrl-C stops\n")
            threading.Event().wait()
    except HeadwaterError as error:
        sys.exit(f"sample: {error}; {error.hint}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
