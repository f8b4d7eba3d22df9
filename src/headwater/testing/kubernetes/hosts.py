"""Owns the names that a Pod can resolve: its own, those of services, and those of Pods of headless services (pure).

There is neither DNS nor an address of a service on a node without a network of its own. The name of a service means the
ready Pods behind it instead: one of them, or all when the service is headless. Its ports must be those of its Pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.resources.core_v1 import Pod, Service

_DOMAIN = "svc.cluster.local"


def hosts(pod: Pod, address: str, services: Iterable[Service], pods: Iterable[Pod]) -> str:
    """Return the hosts file of a Pod. `services` and `pods` are all of the cluster."""
    assert pod.metadata is not None
    assert pod.spec is not None
    own = pod.metadata.namespace or ""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost", f"{address}\t{pod.spec.hostname or pod.metadata.name}"]
    lines += [f"{alias.ip}\t{' '.join(alias.hostnames or [])}" for alias in pod.spec.hostAliases or []]
    running = sorted(pods, key=lambda each: (each.metadata and each.metadata.name) or "")
    for service in services:
        assert service.metadata is not None
        assert service.spec is not None
        name, namespace = service.metadata.name or "", service.metadata.namespace or ""
        behind = [each for each in running if _is_behind(each, service)]
        headless = service.spec.clusterIP == "None"
        names = " ".join(_names(name, namespace, own))
        lines += [f"{_address(each)}\t{names}" for each in (behind if headless else behind[:1])]
        for each in behind if headless else []:
            if each.spec is not None and each.spec.hostname and each.spec.subdomain == name:
                own_names = " ".join(_names(f"{each.spec.hostname}.{name}", namespace, own))
                lines.append(f"{_address(each)}\t{own_names}")
    return "\n".join([*lines, ""])


def _names(name: str, namespace: str, own: str) -> list[str]:
    names = [f"{name}.{namespace}.{_DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    return [*names, name] if namespace == own else names


def _address(pod: Pod) -> str:
    return (pod.status and pod.status.podIP) or ""


def _is_behind(pod: Pod, service: Service) -> bool:
    if pod.metadata is None or service.metadata is None or service.spec is None or not service.spec.selector:
        return False
    if pod.metadata.namespace != service.metadata.namespace or not _address(pod):
        return False
    labels = pod.metadata.labels or {}
    if any(labels.get(key) != value for key, value in service.spec.selector.items()):
        return False
    conditions = (pod.status and pod.status.conditions) or []
    ready = any(each.type == "Ready" and each.status == "True" for each in conditions)
    return bool(service.spec.publishNotReadyAddresses) or (ready and pod.metadata.deletionTimestamp is None)
