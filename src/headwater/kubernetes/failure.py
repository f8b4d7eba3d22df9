"""Owns what a refusal or a failure of a cluster is here: each becomes one error with what was tried and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
import msgspec
from lightkube import ApiError

from headwater.core.errors import ConnectorError, ConnectorOwnedError, HeadwaterError, ManagerError

_TAKE_OVER = (
    "change it with that tool, or take it over: "
    "headwater k8s manifest FILE | kubectl apply --server-side --force-conflicts --field-manager headwater -f -"
)
_ROLE = "ask for the role in docs/in-kubernetes.md, or name another user with --context or --kubeconfig"


class Refusal(msgspec.Struct, frozen=True):
    """What an API server answered: a status, its word for it, its sentence, and causes as field and message."""

    code: int
    reason: str = ""
    message: str = ""
    causes: tuple[tuple[str, str], ...] = ()


def refusal_of(error: ApiError) -> Refusal:
    """Return the answer that an error of the client holds."""
    status = error.status
    details = status.details
    causes = () if details is None or details.causes is None else details.causes
    return Refusal(
        status.code or 0,
        status.reason or "",
        status.message or "",
        tuple((cause.field or "", cause.message or "") for cause in causes),
    )


def told(refusal: Refusal, doing: str, place: str) -> HeadwaterError:
    """Return the error for an answer. `doing` is what was tried, `place` where."""
    tried = f"cannot {doing} in {place}"
    code, message = refusal.code, refusal.message
    if code == 401:
        return ManagerError(f"{tried}: the API server does not know who asks", hint="renew your login to the cluster")
    if code == 403:
        return ConnectorError(f"{tried}: {message}", hint=_forbidden(message))
    if code == 404 and message.startswith("namespaces "):
        return ConnectorError(
            f"{tried}: there is no such namespace", hint="make it with: kubectl create namespace NAME"
        )
    if code == 409 and refusal.causes:
        return ConnectorOwnedError(f"{tried}: {_conflicts(refusal.causes)}", hint=_TAKE_OVER)
    if code == 409:
        return ConnectorError(f"{tried}: it was changed or replaced meanwhile ({message})", hint="try again")
    if code in {400, 404, 413, 415, 422}:
        # The message names every cause already.
        return ConnectorError(f"{tried}: {message}", hint="see what 'headwater k8s manifest' makes of the same")
    if code == 429:
        return ManagerError(f"{tried}: the API server has too much to do", hint="try again later")
    return ManagerError(f"{tried}: the API server answered {code}: {message}", hint="try again later")


def _forbidden(message: str) -> str:
    if "quota" in message:
        return "ask for less with --requests and --limits, or have the quota raised"
    if "is being terminated" in message:
        return "wait until the namespace is gone, or name another one"
    return _ROLE


def _conflicts(causes: Sequence[tuple[str, str]]) -> str:
    """Return which fields somebody else keeps. Messages are such as `conflict with "kubectl" using apps/v1`."""
    said: dict[str, list[str]] = {}
    for field, message in causes:
        _, _, rest = message.partition('"')
        said.setdefault(rest.partition('"')[0] or "somebody else", []).append(field)
    return "; ".join(f"{who} keeps {', '.join(fields)}" for who, fields in said.items())


def unreachable(error: BaseException, doing: str, place: str) -> ManagerError:
    """Return the error for an API server that gave no answer, or none that makes sense."""
    tried = f"cannot {doing} in {place}"
    if isinstance(error, httpx2.HTTPStatusError):
        answered = f"{tried}: what answered is no API server: HTTP status {error.response.status_code}"
        return ManagerError(answered, hint="see whether the kubeconfig names the right server, and proxies on the way")
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return ManagerError(f"{tried}: the API server did not answer in time", hint="see whether it can be reached")
    reason = str(error) or type(error).__name__
    return ManagerError(
        f"{tried}: {reason}", hint="see whether kubectl reaches the cluster, and name another --context"
    )
