"""Owns the processes of a control plane: etcd, API server and controllers on loopback, in a directory of their own.

What it knows of Kubernetes are command lines. It is the business of `cluster` who shares them, and for how long.
"""

from __future__ import annotations

import ctypes
import json
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

_PATIENCE = 120.0
"""How long the whole may take to be ready, seconds: on a machine that is busy with something else."""

_ATTEMPTS = 3
"""How often other ports are tried, when somebody else was quicker to take one."""

_PDEATHSIG = 1
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
)
"""Those that a workload can meet, without endpoints of services: these refuse loopback addresses, which Pods have."""


class Servers:
    """A control plane: `with Servers(binary, directory) as servers`. It is ready when the block begins.

    `url` is the API server's, `authority` the file by which it is trusted, `token` the administrator's. What the
    processes say is in `directory`, one file each. Raises RuntimeError when one of them ends, with its last lines, and
    TimeoutError when they are not ready within two minutes.
    """

    def __init__(self, binary: Path, directory: Path, token: str) -> None:
        self._binary = binary
        self._directory = directory
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.token = token
        self.url = ""
        self.authority = directory / "authority.pem"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._kill)
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._start()
                    break
                except RuntimeError as error:
                    if attempt == _ATTEMPTS or "address already in use" not in str(error):
                        raise
                self._kill()
                shutil.rmtree(self._directory / "etcd", ignore_errors=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def check(self) -> None:
        """Raise RuntimeError when a process has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                said = (self._directory / f"{name}.log").read_text(errors="replace").splitlines()[-20:]
                raise RuntimeError("\n".join([f"{name} ended with {process.returncode}:", *said]))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have no API server for as long as the block lasts: connections break, and new ones are refused."""
        process = self._processes.pop("apiserver")
        process.kill()
        process.wait()
        try:
            yield
        finally:
            self._start_api()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Have an API server that does not answer for as long as the block lasts."""
        process = self._processes["apiserver"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def _start(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        self._etcd_port, peer, self._api_port, controllers = _free_ports(4)
        self.url = f"https://127.0.0.1:{self._api_port}"
        self._write_files()
        self._run("etcd", *_etcd(self._directory, self._etcd_port, peer))
        self._start_api()
        self._run("controllers", *_controllers(self._directory, controllers))
        # It has a certificate that it makes for itself.
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        _until(deadline, self.check, lambda: _ready(f"https://127.0.0.1:{controllers}/healthz", blind))

    def _start_api(self) -> None:
        # It keeps trying until etcd is there.
        self._run("apiserver", *_apiserver(self._directory, self._etcd_port, self._api_port))
        trusting = ssl.create_default_context(cafile=str(self.authority))
        _until(time.monotonic() + _PATIENCE, self.check, lambda: _ready(f"{self.url}/readyz", trusting))

    def _write_files(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc")
        certificate.cert_chain_pems[0].write_to_path(self._directory / "server.pem")
        certificate.private_key_pem.write_to_path(self._directory / "server.key")
        authority.issue_cert("serviceaccounts").private_key_pem.write_to_path(self._directory / "accounts.key")
        (self._directory / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        (self._directory / "kubeconfig").write_text(kubeconfig(self.url, self.authority, self.token))

    def _run(self, name: str, *options: str) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(self._binary), name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the keeper has one thread
            )

    def _kill(self) -> None:
        # Nothing of it is needed any more, so nobody is asked to put things in order.
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()


def kubeconfig(url: str, authority: Path, token: str, namespace: str = "default") -> str:
    """Return a kubeconfig file as text (JSON, which is YAML): an API server, its authority, a token."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(authority)}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "current-context": "test",
        }
    )


def _etcd(directory: Path, port: int, peer: int) -> list[str]:
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync",  # it never outlives a crash
        "--log-level=warn",
    ]


def _apiserver(directory: Path, etcd: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # endpoints may not be on loopback
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--tls-cert-file={directory / 'server.pem'}",
        f"--tls-private-key-file={directory / 'server.key'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={directory / 'accounts.key'}",
        f"--service-account-signing-key-file={directory / 'accounts.key'}",
        "--authorization-mode=RBAC",
        "--enable-admission-plugins=PodNodeSelector",
        "--enable-priority-and-fairness=false",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def _controllers(directory: Path, port: int) -> list[str]:
    return [
        f"--kubeconfig={directory / 'kubeconfig'}",
        f"--authentication-kubeconfig={directory / 'kubeconfig'}",
        f"--authorization-kubeconfig={directory / 'kubeconfig'}",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'controllers'}",
        f"--root-ca-file={directory / 'authority.pem'}",
        f"--service-account-private-key-file={directory / 'accounts.key'}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
        # A dead node is noticed soon, but not while a busy machine only keeps a living one waiting.
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=15s",
        "--pvclaimbinder-sync-period=2s",
    ]


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody has, and that no client gets by chance before the servers do."""
    free: set[int] = set()
    while len(free) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            free.add(port)
    return list(free)


def _ready(url: str, context: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _until(deadline: float, check: Callable[[], None], met: Callable[[], bool]) -> None:
    while not met():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the control plane is not ready after {_PATIENCE:g} s")
        time.sleep(0.05)


def _die_with_parent() -> None:
    with suppress(OSError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
