"""`headwater run` in a Pod as strict as Pods can be: no root, nothing to write to but its claim."""

from __future__ import annotations

from pathlib import Path

from lightkube import Client
from lightkube.models.core_v1 import PersistentVolumeClaimSpec, VolumeResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer, background
from headwater.testing.kubernetes import Kubelet
from kubernetes.cluster import logged, present, until
from kubernetes.workloads import RESTRICTED, Json, pod

CONNECTOR = """
apiVersion: 0.1.0
meta: {{version: 0.3.8, name: quotes, type: http-source, topic: quotes}}
http: {{endpoint: "{url}", interval: 100ms}}
"""
SPEC: Json = {
    "containers": [
        {
            "name": "main",
            "image": "headwater:test",
            "args": ["run", "--data-dir=/data", "--log-format=json", "/config/connect.yml"],
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/config"}],
        }
    ],
    "securityContext": {"fsGroup": 65532},
    "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "config", "configMap": {"name": "config"}},
    ],
}


def test_polls_are_stored_in_a_claim(client: Client, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """It polls, writes into its claim, ends in good order when it is asked to, and goes on in the next Pod."""
    wanted = VolumeResourceRequirements(requests={"storage": "1Gi"})
    claim = PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=wanted)
    client.create(PersistentVolumeClaim(metadata=ObjectMeta(name="data"), spec=claim))
    with background(ScriptedServer()) as server:
        url = server.route("/", Answer.json({"quote": 1}))
        client.create(ConfigMap(metadata=ObjectMeta(name="config"), data={"connect.yml": CONNECTOR.format(url=url)}))
        for name in ("first", "second"):
            client.create(pod(name, SPEC))
            until(lambda name=name: logged(client, name, '"running"'))  # type: ignore[misc]
            server.wait_for(len(server.received) + 2)
            client.delete(Pod, name)
            until(lambda name=name: present(lambda: client.get(Pod, name)) is None)  # type: ignore[misc]
        data = kubelet.claim("data", namespace)
        records = CommandLine(tmp_path).good("consume", "quotes", "-B", "-d", "--data-dir", data).splitlines()
    assert set(records) == {'{"quote":1}'}
    assert len(records) in {len(server.received), len(server.received) - 1, len(server.received) - 2}
