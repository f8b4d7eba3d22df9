"""What the tests of Kubernetes share: a cluster and a node for all of them, a namespace and a client for each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from lightkube import Client

from headwater.testing.kubernetes import Image, Kubelet, lacks
from kubernetes.cluster import BUILT, Cluster
from kubernetes.servers import Servers


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster without nodes, one for each process of tests."""
    if not BUILT.is_file():
        pytest.skip("Kubernetes is not built: that needs Go, and then `make kubernetes`")
    directory = tmp_path_factory.mktemp("cluster")
    with Servers(BUILT, directory, secrets.token_hex(16)) as servers:
        yield Cluster(servers, directory)


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    """Return what images stand for on the node. A test may add its own, under a name of its own."""
    return {
        "headwater:test": Image.python("-m", "headwater"),
        "python:test": Image.python(),
    }


@pytest.fixture(scope="session")
def kubelet(cluster: Cluster, images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """Return the node on which Pods of `namespace` run."""
    lack = lacks(tmp_path_factory.mktemp("trial"))
    if lack is not None:
        pytest.skip(lack)
    with Kubelet(cluster.config, tmp_path_factory.mktemp("node"), images) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster, kubelet: Kubelet) -> Iterator[str]:
    """Return a new namespace, which is deleted after the test without waiting for it."""
    name = cluster.make_namespace(node=kubelet.name)
    yield name
    cluster.delete_namespace(name)
    kubelet.check()


@pytest.fixture
def client(cluster: Cluster, namespace: str) -> Iterator[Client]:
    """Return an administrator's client whose default is the test's namespace."""
    with cluster.client(namespace) as ready:
        yield ready
