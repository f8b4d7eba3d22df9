"""The test bed itself: real controllers and a real API server over a node of processes."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx2
import pytest
from lightkube import ApiError, Client
from lightkube.models.core_v1 import PersistentVolumeClaimSpec, ServicePort, ServiceSpec, VolumeResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, Secret, Service
from lightkube.types import PatchType

from headwater.testing.kubernetes import Image, Kubelet
from kubernetes.cluster import (
    Cluster,
    available,
    container,
    events,
    followed,
    logged,
    name_of,
    pods,
    present,
    ready,
    running,
    until,
)
from kubernetes.workloads import RESTRICTED, deployment, pod, pod_spec

STAY = "trap 'echo stopping; exit 0' TERM; echo started; while :; do sleep 0.1; done"
SOON = {"periodSeconds": 1, "failureThreshold": 1}


def restarts(client: Client, name: str) -> dict[str, int]:
    """Return how often each container of a Pod was restarted."""
    status = client.get(Pod, name).status
    return {each.name: each.restartCount for each in (status and status.containerStatuses) or []}


def states(client: Client, name: str) -> dict[str, list[str]]:
    """Return which state each container of a Pod is in."""
    status = client.get(Pod, name).status
    return {each.name: list(each.state.to_dict()) for each in (status and status.containerStatuses) or [] if each.state}


def test_a_deployment_becomes_available_and_its_log_is_followed(client: Client, namespace: str) -> None:
    """A Deployment becomes Available; its log is read, and followed to its end, by way of the API server."""
    client.create(deployment("hello", pod_spec(STAY)))
    until(lambda: available(client, "hello"))
    (only,) = pods(client, namespace, app="hello")
    name = name_of(only)
    until(lambda: list(client.log(name)) == ["started\n"])
    lines = followed(client, name)
    assert next(lines) == "started"
    client.delete(Deployment, "hello")
    assert list(lines) == ["stopping"]
    until(lambda: present(lambda: client.get(Pod, name)) is None)


def test_a_log_is_read_in_parts(client: Client) -> None:
    """The last lines alone, times before lines, and the log of the run before are to be had."""
    client.create(pod("log", pod_spec("echo one; echo two >&2; sleep 0.1; echo three; exec sleep 1000")))
    until(lambda: logged(client, "log", "three"))
    assert sorted(client.log("log")) == ["one\n", "three\n", "two\n"]
    assert list(client.log("log", tail_lines=1)) == ["three\n"]
    (stamped,) = client.log("log", tail_lines=1, timestamps=True)
    assert stamped.startswith("20")
    assert stamped.endswith("Z three\n")


def test_volumes_and_variables_are_what_the_api_server_has(client: Client) -> None:
    """ConfigMaps and Secrets are seen as files and variables; a change of a ConfigMap is seen as well."""
    client.create(ConfigMap(metadata=ObjectMeta(name="settings"), data={"a.txt": "first", "b.txt": "other"}))
    client.create(Secret(metadata=ObjectMeta(name="keys"), stringData={"token": "s3cret"}))
    spec = pod_spec(
        'cat /etc/settings/a.txt /keys/t; echo; echo "$TOKEN $A_b $NAME at $IP"; cat /etc/pod/labels; echo;'
        "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; "
        "echo x 2>/dev/null > /etc/settings/c || echo fixed; "
        "until grep -q second /etc/settings/a.txt; do sleep 0.05; done; echo changed; exec sleep 1000",
        volumeMounts=[
            {"name": "settings", "mountPath": "/etc/settings"},
            {"name": "keys", "mountPath": "/keys/t", "subPath": "t"},
            {"name": "pod", "mountPath": "/etc/pod"},
        ],
        env=[
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        envFrom=[{"prefix": "A_", "configMapRef": {"name": "more"}}],
    )
    spec["volumes"] = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "token", "path": "t"}]}},
        {"name": "pod", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    made = pod("reader", spec)
    assert made.metadata is not None
    made.metadata.labels = {"app": "reader"}
    client.create(made)
    until(lambda: "CreateContainerConfigError" in str(container(client, "reader")))
    client.create(ConfigMap(metadata=ObjectMeta(name="more"), data={"b": "value"}))
    found = until(lambda: running(client, "reader"))
    assert found.status is not None
    said = until(lambda: logged(client, "reader", "fixed"))
    assert said.splitlines() == [
        "firsts3cret",
        f"s3cret value reader at {found.status.podIP}",
        'app="reader"',
        client.namespace,
        "fixed",
    ]
    client.patch(ConfigMap, "settings", {"data": {"a.txt": "second"}}, patch_type=PatchType.MERGE)
    until(lambda: logged(client, "reader", "changed"))


def test_what_is_optional_may_be_missing(client: Client) -> None:
    """References that are optional leave nothing behind when there is nothing; the others are found."""
    client.create(ConfigMap(metadata=ObjectMeta(name="some"), data={"there": "value"}))
    client.create(Secret(metadata=ObjectMeta(name="keys"), stringData={"KEY": "s3cret"}))
    spec = pod_spec(
        'echo "${A-unset} ${B-unset} $C $KEY"; ls /none; cd /all && cat there key name',
        env=[
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a", "optional": True}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b", "optional": True}}},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "some", "key": "there"}}},
        ],
        envFrom=[{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "none", "optional": True}}],
        volumeMounts=[{"name": "none", "mountPath": "/none"}, {"name": "all", "mountPath": "/all"}],
    )
    sources = [
        {"configMap": {"name": "some"}},
        {"secret": {"name": "keys", "items": [{"key": "KEY", "path": "key", "mode": 0o400}]}},
        {"secret": {"name": "none", "optional": True}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    spec["volumes"] = [
        {"name": "none", "configMap": {"name": "none", "optional": True}},
        {"name": "all", "projected": {"sources": sources}},
    ]
    client.create(pod("optional", {**spec, "restartPolicy": "Never"}))
    assert until(lambda: logged(client, "optional", "optional")) == "unset unset value s3cret\nvalues3cretoptional\n"


def test_a_pod_asks_the_api_server_with_its_own_account(client: Client, cluster: Cluster) -> None:
    """A process in a Pod is who its service account is: it reaches the API server, which knows it and forbids."""
    script = (
        "from lightkube import ApiError, Client\n"
        "from lightkube.resources.core_v1 import Pod\n"
        "try:\n    list(Client().list(Pod))\n"
        "except ApiError as error:\n    print(error)\n"
    )
    spec = pod_spec("", command=[sys.executable, "-c", script])
    client.create(pod("asker", {**spec, "restartPolicy": "Never"}))
    said = until(lambda: logged(client, "asker", "forbidden"))
    assert f"system:serviceaccount:{client.namespace}:default" in said


def test_readiness_flips_and_a_pod_that_is_not_ready_is_not_available(client: Client, tmp_path: Path) -> None:
    """A readiness probe decides whether a Pod is Ready, again and again."""
    sign = tmp_path / "ready"
    probe = {"exec": {"command": ["test", "-e", "/signs/ready"]}, **SOON}
    spec = pod_spec("exec sleep 1000", readinessProbe=probe, volumeMounts=[{"name": "signs", "mountPath": "/signs"}])
    spec["volumes"] = [{"name": "signs", "hostPath": {"path": str(tmp_path)}}]
    client.create(pod("flips", spec))
    until(lambda: running(client, "flips"))
    assert not ready(client.get(Pod, "flips"))
    sign.touch()
    until(lambda: ready(client.get(Pod, "flips")))
    sign.unlink()
    until(lambda: not ready(client.get(Pod, "flips")))


def test_an_http_probe_asks_the_address_of_the_pod(client: Client) -> None:
    """What listens on the Pod's address or on all, at a port with a name, is probed; Pods have the same port."""
    for name, address in (("one", "$POD_IP"), ("two", "0.0.0.0"), ("three", "::")):
        spec = pod_spec(
            f"exec {sys.executable} -m http.server --bind {address} 8080",
            ports=[{"name": "http", "containerPort": 8080}],
            env=[{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            startupProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30},
            readinessProbe={"httpGet": {"port": "http", "path": "/"}, **SOON},
        )
        client.create(pod(name, spec))
    until(lambda: all(ready(client.get(Pod, name)) for name in ("one", "two", "three")))


def test_the_name_of_a_service_is_that_of_its_ready_pods(client: Client) -> None:
    """A Pod reaches another by the name of a service, as soon as that one is ready."""
    spec = pod_spec("exec python -m http.server 8080", readinessProbe={"httpGet": {"port": 8080}})
    served = pod("served", spec)
    assert served.metadata is not None
    served.metadata.labels = {"app": "web"}
    url = f"http://web.{client.namespace}.svc:8080/"
    ask = f"import urllib.request as u; print(u.urlopen('{url}').status)"
    client.create(pod("asks", pod_spec(f'until python -c "{ask}" 2>/dev/null; do sleep 0.1; done; exec sleep 1000')))
    ports = [ServicePort(port=8080)]
    client.create(Service(metadata=ObjectMeta(name="web"), spec=ServiceSpec(selector={"app": "web"}, ports=ports)))
    client.create(served)
    until(lambda: logged(client, "asks", "200"))


def test_a_container_that_is_not_alive_is_restarted(client: Client, tmp_path: Path) -> None:
    """When the liveness probe fails the container is asked to end, and started again."""
    probe = {"exec": {"command": ["test", "!", "-e", "/signs/dead"]}, **SOON}
    spec = pod_spec(STAY, livenessProbe=probe, volumeMounts=[{"name": "signs", "mountPath": "/signs"}])
    spec["volumes"] = [{"name": "signs", "hostPath": {"path": str(tmp_path)}}]
    client.create(pod("alive", spec))
    until(lambda: logged(client, "alive", "started"))
    (tmp_path / "dead").touch()
    until(lambda: logged(client, "alive", "stopping"))
    (tmp_path / "dead").unlink()
    until(lambda: running(client, "alive", 1))


def test_a_killed_container_is_restarted(client: Client, kubelet: Kubelet, namespace: str) -> None:
    """A crash is told with its exit status, and the container runs again; what it wrote beside its volumes is gone."""
    client.create(pod("crash", pod_spec("ls /made 2>/dev/null; touch /made; echo up; exec sleep 1000")))
    until(lambda: logged(client, "crash", "up"))
    kubelet.kill("crash", namespace)
    until(lambda: running(client, "crash", 1))
    assert container(client, "crash")["lastState"]["terminated"]["exitCode"] == 137
    assert until(lambda: logged(client, "crash", "up")) == "up\n"


def test_a_container_that_crashes_at_once_backs_off(client: Client) -> None:
    """One that always ends is CrashLoopBackOff between its restarts."""
    client.create(pod("loop", pod_spec("echo failing > /dev/termination-log; exit 3")))
    until(lambda: "CrashLoopBackOff" in str(container(client, "loop")))
    ended = container(client, "loop")["lastState"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, "failing\n")
    until(lambda: "BackOff" in events(client, "loop"))


def test_the_end_of_the_log_stands_for_last_words(client: Client) -> None:
    """Who fails without a message is quoted from its log, when that is asked for."""
    spec = pod_spec("echo wrong >&2; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    client.create(pod("words", {**spec, "restartPolicy": "Never"}))
    until(lambda: "terminated" in container(client, "words").get("state", {}))
    assert container(client, "words")["state"]["terminated"]["message"] == "wrong\n"


def test_a_pod_that_waits_for_its_volumes_says_so(client: Client) -> None:
    """A claim that is not there keeps a Pod from its node, a ConfigMap that is not there from its start."""
    mounted = {"name": "some", "mountPath": "/some"}
    for name, volume in (
        ("claims", {"persistentVolumeClaim": {"claimName": "none"}}),
        ("reads", {"configMap": {"name": "none"}}),
    ):
        spec = pod_spec(STAY, volumeMounts=[mounted])
        client.create(pod(name, {**spec, "volumes": [{"name": "some", **volume}]}))
    assert "none" in until(lambda: events(client, "claims").get("FailedScheduling"))
    assert "none" in until(lambda: events(client, "reads").get("FailedMount"))
    client.create(ConfigMap(metadata=ObjectMeta(name="none"), data={"a": "b"}))
    until(lambda: running(client, "reads"))
    assert client.get(Pod, "claims").spec.nodeName is None  # type: ignore[union-attr]


def test_containers_that_cannot_start_say_why(client: Client, images: dict[str, Image]) -> None:
    """An image that nothing stands for is waited for; a command that is not there is a StartError."""
    client.create(pod("later", pod_spec(STAY, image="later:test")))
    client.create(pod("nothing", pod_spec("", command=["/no/such/thing"])))
    until(lambda: "ImagePull" in str(container(client, "later")))
    until(lambda: "No such file" in str(container(client, "nothing")))
    images["later:test"] = Image.python()
    until(lambda: running(client, "later"))


@pytest.mark.parametrize(("status", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_a_pod_that_is_not_restarted_ends(client: Client, status: int, phase: str) -> None:
    """The phase says how the containers ended; those that come first have run before."""
    spec = pod_spec(f"cat /room/first; exit {status}", volumeMounts=[{"name": "room", "mountPath": "/room"}])
    first = {**spec["containers"][0], "name": "first", "command": ["sh", "-c", "echo before > /room/first"]}
    spec |= {"initContainers": [first], "restartPolicy": "Never", "volumes": [{"name": "room", "emptyDir": {}}]}
    client.create(pod("ends", spec))
    until(lambda: (found := client.get(Pod, "ends").status) and found.phase == phase)
    assert list(client.log("ends", container="main")) == ["before\n"]


def test_a_change_of_the_template_is_rolled_out(client: Client, namespace: str) -> None:
    """With Recreate the old Pod has gone before the new one starts."""
    client.create(deployment("app", pod_spec(STAY), strategy={"type": "Recreate"}))
    until(lambda: available(client, "app"))
    (old,) = pods(client, namespace, app="app")
    change = {"spec": {"template": {"metadata": {"annotations": {"change": "1"}}}}}
    client.patch(Deployment, "app", change)
    until(lambda: available(client, "app"))
    (new,) = pods(client, namespace, app="app")
    assert name_of(new) != name_of(old)


def test_a_pod_that_does_not_end_is_killed_after_its_grace(client: Client, kubelet: Kubelet, namespace: str) -> None:
    """Who ignores SIGTERM gets SIGKILL; the API server forgets the Pod only after that."""
    client.create(pod("stubborn", pod_spec("trap '' TERM; echo up; while :; do sleep 0.1; done")))
    until(lambda: logged(client, "stubborn", "up"))
    (process,) = kubelet.processes("stubborn", namespace).values()
    client.delete(Pod, "stubborn", grace_period=1)
    until(lambda: present(lambda: client.get(Pod, "stubborn")) is None)
    assert not Path(f"/proc/{process}").exists()


def test_a_hook_runs_before_a_container_is_asked_to_end(client: Client) -> None:
    """The preStop hook has done its work before SIGTERM comes."""
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /room/done"]}}}
    script = "trap 'cat /room/done; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    spec = pod_spec(script, lifecycle=hook, volumeMounts=[{"name": "room", "mountPath": "/room"}])
    spec |= {"volumes": [{"name": "room", "emptyDir": {}}], "terminationGracePeriodSeconds": 30}
    client.create(pod("hooked", spec))
    until(lambda: logged(client, "hooked", "up"))
    lines = followed(client, "hooked")
    assert next(lines) == "up"
    client.delete(Pod, "hooked")
    assert list(lines) == ["hook"]


def test_storage_outlives_pods(client: Client, namespace: str, kubelet: Kubelet) -> None:
    """A claim is bound to storage that a later Pod finds again; with the claim it goes."""
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name="data"),
        spec=PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"], resources=VolumeResourceRequirements(requests={"storage": "1Gi"})
        ),
    )
    spec = pod_spec(
        "cat /data/kept; echo kept > /data/kept; echo done; exec sleep 1000",
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    client.create(pod("first", spec))
    client.create(claim)
    until(lambda: logged(client, "first", "done"))
    client.delete(Pod, "first")
    client.create(pod("second", spec))
    assert until(lambda: logged(client, "second", "done")).splitlines()[0] == "kept"
    volume = kubelet.claim("data", namespace)
    assert (volume / "kept").read_text() == "kept\n"
    client.delete(Pod, "second")
    client.delete(PersistentVolumeClaim, "data")
    until(lambda: not volume.exists())


def test_a_restricted_namespace_takes_only_restricted_pods(cluster: Cluster, kubelet: Kubelet) -> None:
    """Pod security is enforced, and what it asks for is done: the user, the root that is only read, no privileges."""
    name = cluster.make_namespace({"pod-security.kubernetes.io/enforce": "restricted"}, kubelet.name)
    with cluster.client(name) as client:
        with pytest.raises(ApiError, match="violates PodSecurity"):
            client.create(pod("bad", pod_spec("id")))
        script = (
            "id -u; id -g; touch /tmp/x 2>/dev/null || echo read-only; echo mine > /room/x && cat /room/x; "
            f"grep -c 'NoNewPrivs:.1' /proc/self/status; {sys.executable} -c 'import headwater; print(headwater)'"
        )
        spec = pod_spec(script, securityContext=RESTRICTED, volumeMounts=[{"name": "room", "mountPath": "/room"}])
        spec |= {"volumes": [{"name": "room", "emptyDir": {}}], "restartPolicy": "Never"}
        client.create(pod("good", spec))
        said = until(lambda: logged(client, "good", "module"))
        assert said.split()[:6] == ["65532", "65532", "read-only", "mine", "1", "<module"]
    cluster.delete_namespace(name)


def test_pods_go_on_while_the_api_server_is_away(
    cluster: Cluster, client: Client, kubelet: Kubelet, namespace: str
) -> None:
    """Nothing ends because the API server is not there; what happened meanwhile is told when it is back."""
    client.create(pod("steady", pod_spec(STAY)))
    client.create(pod("crash", pod_spec(STAY)))
    until(lambda: running(client, "steady"))
    until(lambda: running(client, "crash"))
    steady = kubelet.processes("steady", namespace)
    with cluster.away():
        kubelet.kill("crash", namespace)
        with pytest.raises(httpx2.TransportError):
            client.get(Pod, "steady")
    until(lambda: running(client, "crash", 1))
    assert kubelet.processes("steady", namespace) == steady
    with cluster.stalled():
        kubelet.kill("crash", namespace)
    until(lambda: running(client, "crash", 2))


def test_a_dead_node_is_noticed(cluster: Cluster, images: dict[str, Image], tmp_path: Path) -> None:
    """A node that dies leaves its Pods behind, which do not run any more; after its restart those run that should."""
    name = cluster.make_namespace(node="mortal")
    with cluster.client(name) as client:
        with Kubelet(cluster.config, tmp_path / "node", images, name="mortal") as node:
            client.create(pod("left", pod_spec(STAY)))
            spec = {**pod_spec("exit 0"), "restartPolicy": "OnFailure"}
            spec["containers"].append({**pod_spec(STAY)["containers"][0], "name": "other"})
            client.create(pod("half", spec))
            until(lambda: running(client, "left"))
            until(lambda: states(client, "half") == {"main": ["terminated"], "other": ["running"]})
            (process,) = node.processes("left", name).values()
            node.die()
            assert not Path(f"/proc/{process}").exists()
        assert running(client, "left")
        with Kubelet(cluster.config, tmp_path / "node", images, name="mortal"):
            until(lambda: running(client, "left", 1))
            until(lambda: restarts(client, "half") == {"main": 0, "other": 1})
    cluster.delete_namespace(name)


@pytest.mark.long
def test_work_moves_from_a_dead_node_to_another(cluster: Cluster, images: dict[str, Image], tmp_path: Path) -> None:
    """When a node does not answer any more its Pods are given up, and the Deployment has one on the other node."""
    nodes = {
        name: Kubelet(cluster.config, tmp_path / name, images, name=name, labels={"zone": "z"}, claims=tmp_path)
        for name in ("left", "right")
    }
    name = cluster.make_namespace()
    away = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "tolerationSeconds": 1}
    spec = {**pod_spec(STAY), "nodeSelector": {"zone": "z"}, "tolerations": [away]}
    with nodes["left"], nodes["right"], cluster.client(name) as client:
        client.create(deployment("moves", spec))
        until(lambda: available(client, "moves"))
        (first,) = pods(client, name, app="moves")
        assert first.spec is not None
        assert first.spec.nodeName is not None
        nodes[first.spec.nodeName].die()
        (other,) = nodes.keys() - {first.spec.nodeName}
        until(lambda: any(each.spec and each.spec.nodeName == other for each in pods(client, name, app="moves")))
        until(lambda: available(client, "moves"))
        # Nobody is there who could say that the Pod has ended.
        assert present(lambda: client.get(Pod, name_of(first)))
        client.delete(Pod, name_of(first), grace_period=0)
    cluster.delete_namespace(name)
