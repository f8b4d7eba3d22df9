"""Owns what a connector is in a cluster: a definition and settings become Kubernetes objects. Pure and deterministic.

One Deployment runs it, named as the connector. Its connect.yml and its secrets are immutable objects whose names carry
hashes of what they hold: another content is another object, so a change rolls out, and never under a running pod.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import msgspec

from headwater.config import ConnectorConfig, InvalidConfigError, forgetful, load_definition, local_paths
from headwater.core.managed import Definition
from headwater.kubernetes import names
from headwater.kubernetes.options import PROFILE_KEY, Settings, encode_settings

# A Kubernetes object as the API takes it and as a YAML file has it.
Manifest = dict[str, Any]

PORT: Final = 8080
# What a ConfigMap holds at most, with some room for its own metadata (bytes).
MOST_CONFIG: Final = 1_000_000
_CONFIG, _SECRETS, DATA, HOME = (
    "/etc/headwater/config",
    "/etc/headwater/secrets",
    "/var/lib/headwater",
    "/home/fluvio",
)
# How much longer a pod has than the polls under way, to close what it has open (seconds).
CLOSING = 10


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a Deployment says of a connector besides its settings.

    `secrets` are the names of the secrets in the Secret `secret`, which is "" where there are none. `restarted` is when
    somebody asked for a new pod, "" for never.
    """

    name: str
    type: str
    version: str
    topic: str
    config_map: str
    secret: str = ""
    secrets: tuple[str, ...] = ()
    paused: bool = False
    restarted: str = ""


def render(
    definition: Definition, settings: Settings, *, namespace: str = "", paused: bool = False, restarted: str = ""
) -> list[Manifest]:
    """Return the objects of a connector, in the order in which they are to be made.

    Raises InvalidConfigError when the definition is wrong, or needs something that a pod would not have.
    """
    config = check(definition, storage=bool(settings.storage))
    data = {names.CONFIG_KEY: definition.text}
    config_map = _object("v1", "ConfigMap", names.config_name(definition.name, data), definition.name, namespace)
    config_map |= {"immutable": True, "data": data}
    secret = settings.secret or (names.secret_name(definition.name, definition.secrets) if definition.secrets else "")
    parts = Parts(
        name=definition.name,
        type=config.type,
        version=config.version or "",
        topic=config.topic.name,
        config_map=config_map["metadata"]["name"],
        secret=secret if definition.secrets else "",
        secrets=tuple(sorted(definition.secrets)),
        paused=paused,
        restarted=restarted,
    )
    objects = [_account(parts, namespace), config_map]
    if definition.secrets and not settings.secret:
        objects.append(_secret(parts, definition.secrets, namespace))
    if settings.storage:
        objects.append(_claim(parts, settings, namespace))
    return [*objects, deployment(parts, settings, namespace)]


def check(definition: Definition, *, storage: bool = True) -> ConnectorConfig:
    """Return what a definition means. Raises InvalidConfigError, also for what works only where its file is.

    Without `storage` there is no place for what a connector remembers of items.
    """
    config = load_definition(definition, here=False)
    problems = [
        config.problem(
            link.key_path,
            f"{link.transform.uses!r} is a file beside this one, which a pod does not have",
            "load it into the cluster and name it, or put it into the image and write its absolute path",
        )
        for link in config.chain
        if (path := link.transform.uses.partition(":")[0]).endswith((".py", ".wasm"))
        and not PurePath(path).is_absolute()
    ]
    problems += [
        config.problem(
            ("secrets", name),
            f"the secret {name} comes from a {kind} of this machine, which a pod does not have",
            f"leave the {kind} out, and give the value with --secrets",
        )
        for name, kind in config.secret_origins.items()
        if kind != "env"
    ]
    problems += [
        config.problem(
            key_path,
            f"{path!r} is a path beside this file, which a pod does not have",
            "mount it into the pod, or put it into the image, and write its absolute path",
        )
        for key_path, path in local_paths(config)
        if not PurePath(path).is_absolute()
    ]
    if not storage:
        problems += forgetful(config)
    if len(definition.text.encode()) > MOST_CONFIG:
        problems.append(config.problem((), f"it is larger than the {MOST_CONFIG} bytes that a ConfigMap holds"))
    if problems:
        raise InvalidConfigError(problems)
    return config


def _object(version: str, kind: str, name: str, connector: str, namespace: str, **annotations: str) -> Manifest:
    metadata: Manifest = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = names.labels(connector)
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _account(parts: Parts, namespace: str) -> Manifest:
    account = _object("v1", "ServiceAccount", names.account_name(parts.name), parts.name, namespace)
    return account | {"automountServiceAccountToken": False}


def _secret(parts: Parts, values: Mapping[str, str], namespace: str) -> Manifest:
    return _object("v1", "Secret", parts.secret, parts.name, namespace) | secret_content(values)


def secret_content(values: Mapping[str, str]) -> Manifest:
    """Return what is in a Secret of ours besides its metadata."""
    # Not stringData: of what it holds, nobody would be known as the manager.
    data = {name: base64.b64encode(value.encode()).decode() for name, value in sorted(values.items())}
    return {"type": "Opaque", "immutable": True, "data": data}


def _claim(parts: Parts, settings: Settings, namespace: str) -> Manifest:
    claim = _object("v1", "PersistentVolumeClaim", names.claim_name(parts.name), parts.name, namespace)
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": settings.storage}}}
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return claim | {"spec": spec}


def deployment(parts: Parts, settings: Settings, namespace: str = "") -> Manifest:
    """Return the Deployment that runs a connector."""
    annotations = {names.SETTINGS: encode_settings(settings), names.TOPIC: parts.topic, names.TYPE: parts.type}
    if parts.version:
        annotations[names.VERSION] = parts.version
    if parts.secrets:
        annotations[names.SECRETS] = " ".join(parts.secrets)
    if parts.paused:
        annotations[names.PAUSED] = "true"
    made = _object("apps/v1", "Deployment", parts.name, parts.name, namespace, **annotations)
    made["spec"] = {
        "replicas": 0 if parts.paused else 1,
        "revisionHistoryLimit": 2,
        # Never two of them: the old pod has ended before the new one begins.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": names.owner(parts.name)},
        "template": _template(parts, settings),
    }
    return made


def checksum(parts: Parts) -> str:
    """Return what changes with the configuration or a secret of a connector."""
    return hashlib.sha256(f"{parts.config_map} {parts.secret}".encode()).hexdigest()[:16]


def _template(parts: Parts, settings: Settings) -> Manifest:
    annotations = {names.CHECKSUM: checksum(parts)}
    if parts.restarted:
        annotations[names.RESTARTED] = parts.restarted
    volumes, mounts = _volumes(parts, settings)
    return {
        "metadata": {"labels": names.labels(parts.name), "annotations": annotations},
        "spec": {
            "serviceAccountName": names.account_name(parts.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.grace + CLOSING,
            "securityContext": pod_security(),
            "containers": [_container(parts, settings, mounts)],
            "volumes": volumes,
        },
    }


def pod_security() -> Manifest:
    """Return what the restricted level asks of a pod, and the user that the image has."""
    return {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Return what the restricted level asks of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _container(parts: Parts, settings: Settings, mounts: Sequence[Manifest]) -> Manifest:
    environment = {"HOME": HOME}
    arguments = ["run", f"{_CONFIG}/{names.CONFIG_KEY}", "--data-dir", DATA]
    if parts.secret:
        arguments += ["--secrets", _SECRETS]
    if settings.on_cluster:
        # A file that is named so but missing is an error: records would go to the wrong place.
        environment["FLV_PROFILE_PATH"] = f"{HOME}/.fluvio/config"
        arguments += ["--checkpoints", "local" if settings.storage else "cluster"]
    else:
        arguments += ["--profile", "local"]
    arguments += work_arguments(settings)
    # Probes come to the address of the pod, of whichever family that is.
    return container(settings, arguments, environment, {"POD_IP": "status.podIP"}, mounts)


def work_arguments(settings: Settings) -> list[str]:
    """Return what every process of ours is told that runs connectors in a pod."""
    allowed = [f"--egress-allow={entry}" for entry in settings.egress_allow]
    work = ["--health", f"$(POD_IP):{PORT}", "--grace", f"{settings.grace}s", "--log-format", "json"]
    return [*work, "--egress", settings.egress, *allowed]


def container(
    settings: Settings,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    own: Mapping[str, str],
    mounts: Sequence[Manifest],
) -> Manifest:
    """Return the container of a pod of ours. `own` are variables with what the pod knows of itself, by field path."""
    return {
        "name": names.CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(arguments),
        "env": [
            *({"name": name, "value": value} for name, value in environment.items()),
            *(
                {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
                for name, path in own.items()
            ),
        ],
        "ports": [{"name": "health", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": dict(settings.requests), "limits": dict(settings.limits)},
        "securityContext": container_security(),
        "startupProbe": probe("/startupz", period=2, failures=60),
        "livenessProbe": probe("/livez", period=10, failures=3),
        "readinessProbe": probe("/readyz", period=5, failures=2),
        # The last lines of a process that failed say why, to whoever looks at its pod.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(mounts),
    }


def probe(path: str, *, period: int, failures: int) -> Manifest:
    """Return one of the three probes of a container."""
    return {
        "httpGet": {"path": path, "port": "health", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(parts: Parts, settings: Settings) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of a pod, and where its container has them."""
    pairs = [_mount("config", _CONFIG, configMap={"name": parts.config_map})]
    if parts.secret:
        # Readable by the user's group, which is the volume's.
        pairs.append(_mount("secrets", _SECRETS, secret={"secretName": parts.secret, "defaultMode": 0o440}))
    pairs += _of_the_cluster(settings)
    if settings.storage:
        claim = {"claimName": names.claim_name(parts.name)}
        pairs += [_mount("data", DATA, read_only=False, persistentVolumeClaim=claim), _temporary()]
    else:
        pairs += [_scratch(), _temporary()]
    return [volume for volume, _ in pairs], [there for _, there in pairs]


def volumes_without_own(settings: Settings) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of a pod that has nothing of any connector's: the cluster's profile, and scratch space."""
    pairs = [*_of_the_cluster(settings), _scratch(), _temporary()]
    return [volume for volume, _ in pairs], [there for _, there in pairs]


_Mounted = tuple[Manifest, Manifest]


def _mount(name: str, path: str, *, read_only: bool = True, **source: Manifest) -> _Mounted:
    there = {"name": name, "mountPath": path}
    return {"name": name, **source}, {**there, "readOnly": True} if read_only else there


def _of_the_cluster(settings: Settings) -> list[_Mounted]:
    """Return the volumes that say where a Fluvio cluster is."""
    if not settings.on_cluster:
        return []
    profile = {"name": settings.profile_config_map, "items": [{"key": PROFILE_KEY, "path": "config"}]}
    pairs = [_mount("fluvio-config-volume", f"{HOME}/.fluvio", configMap=profile)]
    if settings.client_tls:
        pairs.append(_mount("fluvio-ca", "/var/certs/ca", secret={"secretName": "fluvio-ca"}))
        pairs.append(_mount("fluvio-client-tls", "/var/certs/client-tls", secret={"secretName": "fluvio-client-tls"}))
    return pairs


def _scratch() -> _Mounted:
    return _mount("data", DATA, read_only=False, emptyDir={"sizeLimit": "1Gi"})


def _temporary() -> _Mounted:
    return _mount("tmp", "/tmp", read_only=False, emptyDir={"sizeLimit": "256Mi"})  # noqa: S108 - the pod's own
