from __future__ import annotations

from typing import Any

from lightkube.resources.core_v1 import Pod, Service

from headwater.testing.kubernetes.hosts import hosts


def pod(name: str, address: str, *, ready: bool = True, namespace: str = "here", **spec: Any) -> Pod:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "web"}}
    status = {"podIP": address, "conditions": conditions}
    return Pod.from_dict({"metadata": metadata, "spec": {"containers": [], **spec}, "status": status})  # type: ignore[return-value]


def service(name: str, **spec: Any) -> Service:
    metadata = {"name": name, "namespace": "here"}
    return Service.from_dict({"metadata": metadata, "spec": {"selector": {"app": "web"}, **spec}})  # type: ignore[return-value]


def resolved(asking: Pod, services: list[Service], pods: list[Pod]) -> dict[str, list[str]]:
    """Return the addresses of each name."""
    found: dict[str, list[str]] = {}
    for line in hosts(asking, "127.9.0.9", services, pods).splitlines():
        address, *names = line.split()
        for name in names:
            found.setdefault(name, []).append(address)
    return found


ASKING = pod("asking", "127.9.0.9")
PODS = [pod("b", "127.9.0.2"), pod("a", "127.9.0.1"), pod("c", "127.9.0.3", ready=False), pod("d", "", ready=True)]


def test_a_service_is_one_of_its_ready_pods() -> None:
    """Any name of a service means a Pod that is ready; its short name is known in its own namespace alone."""
    found = resolved(ASKING, [service("web")], PODS)
    names = ("web", "web.here", "web.here.svc", "web.here.svc.cluster.local")
    assert [found[name] for name in names] == [["127.9.0.1"]] * 4
    elsewhere = resolved(pod("asking", "127.9.0.9", namespace="there"), [service("web")], PODS)
    assert "web" not in elsewhere
    assert elsewhere["web.here"] == ["127.9.0.1"]


def test_a_headless_service_is_all_of_them() -> None:
    """A headless service has all its Pods, also those that are not ready when it says so, and they have names."""
    named = pod("web-0", "127.9.0.5", hostname="web-0", subdomain="web")
    found = resolved(ASKING, [service("web", clusterIP="None")], [*PODS, named])
    assert found["web"] == ["127.9.0.1", "127.9.0.2", "127.9.0.5"]
    assert found["web-0.web.here.svc"] == ["127.9.0.5"]
    early = service("web", clusterIP="None", publishNotReadyAddresses=True)
    assert resolved(ASKING, [early], PODS)["web"] == ["127.9.0.1", "127.9.0.2", "127.9.0.3"]


def test_nothing_else_is_behind_a_service() -> None:
    """Without a selector, or for another namespace's Pods, there is nobody behind it."""
    assert "web" not in resolved(ASKING, [service("web", selector={})], PODS)
    assert "web" not in resolved(ASKING, [service("web")], [pod("a", "127.9.0.1", namespace="there")])


def test_own_names() -> None:
    """A Pod knows itself, and the names that its spec gives."""
    aliases = [{"ip": "127.0.0.1", "hostnames": ["api.test", "api"]}]
    found = resolved(pod("asking", "127.9.0.9", hostAliases=aliases), [], [])
    assert found == {
        "localhost": ["127.0.0.1", "::1"],
        "asking": ["127.9.0.9"],
        "api.test": ["127.0.0.1"],
        "api": ["127.0.0.1"],
    }
