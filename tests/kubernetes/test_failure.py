"""What a cluster's refusals and failures become: sentences with what was tried, where, and what to do."""

from __future__ import annotations

import httpx2
import pytest

from headwater.core.errors import ConnectorError, ConnectorOwnedError, HeadwaterError, ManagerError
from headwater.kubernetes.failure import Refusal, told, unreachable

PLACE = "namespace feeds of https://127.0.0.1:6443"
CONFLICT = (
    (".spec.replicas", 'conflict with "kubectl" using apps/v1'),
    (".metadata.labels.app", 'conflict with "kubectl" using apps/v1'),
    (".spec.paused", 'conflict with "flux" with subresource "scale" using apps/v1'),
)


@pytest.mark.parametrize(
    ("refusal", "kind", "message", "hint"),
    [
        (Refusal(401, "Unauthorized"), ManagerError, "does not know who asks", "renew your login"),
        (
            Refusal(403, "Forbidden", 'User "x" cannot create resource "deployments"'),
            ConnectorError,
            'User "x" cannot create',
            "ask for the role",
        ),
        (Refusal(403, "Forbidden", "exceeded quota: few"), ConnectorError, "exceeded quota", "--requests"),
        (
            Refusal(403, "Forbidden", "because it is being terminated"),
            ConnectorError,
            "being terminated",
            "wait until the namespace is gone",
        ),
        (
            Refusal(404, "NotFound", 'namespaces "feeds" not found'),
            ConnectorError,
            "no such namespace",
            "kubectl create",
        ),
        (
            Refusal(409, "Conflict", "Apply failed with 3 conflicts", CONFLICT),
            ConnectorOwnedError,
            "kubectl keeps .spec.replicas, .metadata.labels.app; flux keeps .spec.paused",
            "with that tool",
        ),
        (Refusal(409, "Conflict", "uid mismatch"), ConnectorError, "changed or replaced meanwhile", "try again"),
        (Refusal(422, "Invalid", 'Deployment "a" is invalid: x'), ConnectorError, "is invalid: x", "k8s manifest"),
        (Refusal(429), ManagerError, "too much to do", "later"),
        (Refusal(500, "InternalError", "etcd"), ManagerError, "answered 500: etcd", "later"),
    ],
)
def test_refusals(refusal: Refusal, kind: type[HeadwaterError], message: str, hint: str) -> None:
    """Each says what was tried and where, what came back, and what to do."""
    error = told(refusal, "create connector cats", PLACE)
    assert type(error) is kind
    assert error.message.startswith(f"cannot create connector cats in {PLACE}: ")
    assert message in error.message
    assert hint in error.hint


def test_what_gives_no_answer() -> None:
    """An API server that is away, that is slow, and something else in its place."""
    request = httpx2.Request("GET", "https://127.0.0.1:6443")
    for error, message in (
        (httpx2.ConnectError("All connection attempts failed"), "All connection attempts failed"),
        (httpx2.ReadTimeout(""), "the API server did not answer in time"),
        (TimeoutError(), "the API server did not answer in time"),
        (
            httpx2.HTTPStatusError("", request=request, response=httpx2.Response(502, request=request)),
            "what answered is no API server: HTTP status 502",
        ),
        (ConnectionResetError(), "ConnectionResetError"),
    ):
        found = unreachable(error, "list connectors", PLACE)
        assert found.message == f"cannot list connectors in {PLACE}: {message}"
        assert found.exit_code == 4
        assert found.hint
