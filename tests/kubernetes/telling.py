"""The command line of a pod whose requests tell which pod sends them, and under which number of its lease."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from headwater.__main__ import main
from headwater.core.callback import Cancellable
from headwater.core.http import Deliver, Request
from headwater.engine.guard import GuardedFetcher

_begin: Callable[[GuardedFetcher, Request, Deliver], Cancellable] = GuardedFetcher.begin


def begin(fetcher: GuardedFetcher, request: Request, deliver: Deliver) -> Cancellable:
    """Send a request with two headers more."""
    told = (("X-Pod", os.environ["POD_NAME"]), ("X-Fence", str(fetcher._permit.fence)))
    return _begin(fetcher, msgspec.structs.replace(request, headers=(*request.headers, *told)), deliver)


if __name__ == "__main__":
    GuardedFetcher.begin = begin  # type: ignore[method-assign, assignment]
    main()
