"""Owns how a connector is to run in a cluster: what people say of it, and what is filled in where they say nothing.

Pure. Does not know what becomes of it (render.py), nor how a cluster is reached (access.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from headwater.core.egress import place
from headwater.version import __version__

# The names that Fluvio's own controller of connectors used, so that what people have prepared for it goes on working.
PROFILE_CONFIG_MAP: Final = "fluvio-config-map"
PROFILE_KEY: Final = "fluvioClientConfig"
IMAGE: Final = f"headwater:{__version__}"
REQUESTS: Final = {"cpu": "50m", "memory": "128Mi"}
LIMITS: Final = {"cpu": "1", "memory": "512Mi"}

Egress = Literal["open", "public"]

_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:m|[kMGTPE]|[KMGTPE]i)?")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says of a cluster and of connectors there; None where nothing is said.

    `kubeconfig`, `context` and `namespace` say which cluster, and where in it; without them what kubectl would take.
    The others are as in Settings; of a connector that is there already, what is not said stays as it was. `group` names
    the group whose pods are to work on connectors, of which there are `replicas`, and `slots` that they share.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    image: str | None = None
    storage: str | None = None
    storage_class: str | None = None
    profile_config_map: str | None = None
    client_tls: bool | None = None
    secret: str | None = None
    requests: Mapping[str, str] | None = None
    limits: Mapping[str, str] | None = None
    grace: int | None = None
    egress: Egress | None = None
    egress_allow: tuple[str, ...] | None = None
    group: str | None = None
    replicas: int | None = None
    slots: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a connector runs in a cluster. Everything that is not in its connect.yml.

    `storage` is the size of a volume for the data directory, "" for none. `profile_config_map` names the ConfigMap with
    the profile of the Fluvio cluster that records go to, "" for the embedded log on the volume. `client_tls` mounts the
    Secrets with the certificates that such a profile names. `secret` names a Secret that somebody else keeps, "" for
    one of our own. `grace` is how many seconds polls under way may take when the pod is stopped. `egress` says where
    requests may go, and `egress_allow` where else, as the options of `headwater up` do.
    """

    image: str = IMAGE
    storage: str = ""
    storage_class: str = ""
    profile_config_map: str = PROFILE_CONFIG_MAP
    client_tls: bool = False
    secret: str = ""
    requests: dict[str, str] = msgspec.field(default_factory=REQUESTS.copy)
    limits: dict[str, str] = msgspec.field(default_factory=LIMITS.copy)
    grace: int = 20
    egress: Egress = "public"
    egress_allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.image or any(character.isspace() for character in self.image):
            raise ValueError(f"{self.image!r} is no name of an image")
        quantities = {**self.requests, **{f"limit of {name}": it for name, it in self.limits.items()}}
        for name, quantity in (("storage", self.storage or "0"), *quantities.items()):
            if not _QUANTITY.fullmatch(quantity):
                raise ValueError(f"{quantity!r} is no quantity ({name}); write one such as 500m, 128Mi or 10Gi")
        for entry in self.egress_allow:
            place(entry)
        if not self.profile_config_map and not self.storage:
            raise ValueError("a connector needs a cluster's profile, or storage for the embedded log")

    @property
    def on_cluster(self) -> bool:
        """Whether records go to a Fluvio cluster, not to the embedded log on the volume."""
        return bool(self.profile_config_map)


def settings_of(options: Options, kept: Settings | None = None) -> Settings:
    """Return the settings that options mean, over those that are `kept` for a connector. Raises ValueError.

    Storage without a ConfigMap for a profile is the embedded log on a volume.
    """
    base = kept or Settings()
    said: dict[str, Any] = {
        name: value for name in Settings.__struct_fields__ if (value := getattr(options, name)) is not None
    }
    if kept is None and options.storage and options.profile_config_map is None:
        said["profile_config_map"] = ""
    for name in ("requests", "limits"):
        if name in said:
            said[name] = {**getattr(base, name), **said[name]}
    return msgspec.structs.replace(base, **said)


def encode_settings(settings: Settings) -> str:
    """Encode settings as the text of an annotation: all of them, for what is usual may change."""
    return msgspec.json.encode(settings, order="sorted").decode()


def decode_settings(text: str) -> Settings:
    """Decode what `encode_settings` wrote. Raises ValueError."""
    try:
        return msgspec.json.decode(text, type=Settings)
    except msgspec.DecodeError as error:
        raise ValueError(f"the annotation of settings does not decode: {error}") from error
