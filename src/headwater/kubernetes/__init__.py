"""Owns connectors in Kubernetes: what they are there, and the manager that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING

from headwater.core.errors import ManagerError
from headwater.kubernetes.options import Options, Settings
from headwater.kubernetes.target import Whereabouts, is_kubernetes, parse_profile, parse_target

if TYPE_CHECKING:
    from headwater.kubernetes.connectors import KubernetesManager

__all__ = [
    "Options",
    "Settings",
    "Whereabouts",
    "is_kubernetes",
    "manager",
    "needing_lightkube",
    "parse_profile",
    "parse_target",
]


def manager(options: Options) -> AbstractAsyncContextManager[KubernetesManager]:
    """Return the manager of a cluster, to be entered. Raises ManagerError, here and when it is entered."""
    with needing_lightkube():
        from headwater.kubernetes.connectors import opened  # noqa: PLC0415 - an extra, and it takes long to load
    return opened(options)


@contextmanager
def needing_lightkube() -> Iterator[None]:
    """Raise ManagerError with what to do when what is imported in the block lacks the client of clusters."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"lightkube", "httpx2"}:
            raise
        raise ManagerError(
            "connectors in Kubernetes need lightkube, which is not installed",
            hint="install it with: pip install 'headwater[kubernetes]'",
        ) from error
