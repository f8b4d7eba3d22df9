"""Small workloads for tests of the cluster: Deployments and Pods of one container, written as manifests are."""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

Json = dict[str, Any]

RESTRICTED: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The security context of a container that a restricted namespace takes."""


def pod_spec(script: str, **container: object) -> Json:
    """Return the spec of a Pod that runs a shell script. Keywords are fields of the container."""
    first = {"name": "main", "image": "python:test", "command": ["sh", "-c", script], **container}
    return {"containers": [first], "terminationGracePeriodSeconds": 1}


def pod(name: str, spec: Json) -> Pod:
    """Return a Pod."""
    return Pod.from_dict({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})  # type: ignore[return-value]


def deployment(name: str, spec: Json, **more: object) -> Deployment:
    """Return a Deployment of one replica. Keywords are fields of its spec."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return Deployment.from_dict(  # type: ignore[return-value]
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **more},
        }
    )
