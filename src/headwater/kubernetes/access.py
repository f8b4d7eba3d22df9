"""Owns the way from options to a cluster: which kubeconfig, which context in it, which namespace."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec
import yaml
from lightkube import KubeConfig, SingleConfig
from lightkube.config.models import NameValue, User
from lightkube.core.exceptions import ConfigError

from headwater.core.errors import ManagerError
from headwater.kubernetes.options import Options

VARIABLE = "KUBECONFIG"
_EXEC_V1 = "client.authentication.k8s.io/v1"


def find(options: Options, environment: Mapping[str, str] = os.environ) -> SingleConfig:
    """Return the cluster that is meant, as kubectl would find it. Raises ManagerError."""
    config, origin = _kubeconfig(options, environment)
    if options.context is not None and options.context not in config.contexts:
        near = get_close_matches(options.context, list(config.contexts), n=1)
        known = ", ".join(sorted(config.contexts)) or "none"
        raise ManagerError(
            f"there is no context {options.context!r} in {origin}",
            hint=f"did you mean {near[0]}?" if near else f"it has these: {known}",
        )
    try:
        found = config.get(options.context)
    except KeyError as error:
        raise ManagerError(f"{origin} names {error} but does not say what that is", hint="correct the file") from error
    except ConfigError as error:
        raise ManagerError(f"{origin}: {error}", hint="name a context with --context") from error
    if found is None or found.user is None:
        raise ManagerError(f"{origin} names no user for the cluster", hint="name a context that has one")
    return found._replace(user=_understood(found.user))


def contexts(options: Options, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the contexts that there are, none when there is no kubeconfig to read."""
    try:
        return tuple(sorted(_kubeconfig(options, environment)[0].contexts))
    except ManagerError:
        return ()


def _kubeconfig(options: Options, environment: Mapping[str, str]) -> tuple[KubeConfig, str]:
    """Return the kubeconfig that counts, and what messages call it."""
    if options.kubeconfig is not None:
        return _read(options.kubeconfig), str(options.kubeconfig)
    if named := environment.get(VARIABLE):
        # kubectl puts several together; the first that is there is the one with its current context.
        paths = [Path(it).expanduser() for it in named.split(os.pathsep) if it]
        path = next((it for it in paths if it.is_file()), None)
        if path is None:
            raise ManagerError(f"${VARIABLE} names {named}, which is not there", hint="name a file that is")
        return _read(path), str(path)
    usual = Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config"
    if usual.is_file():
        return _read(usual), str(usual)
    try:
        return KubeConfig.from_service_account(), "the service account of this pod"
    except (ConfigError, KeyError):
        message = f"no cluster is known here: {usual} does not exist, ${VARIABLE} is not set, and this is no pod"
        raise ManagerError(message, hint="name a file with --kubeconfig") from None


def _understood(user: User) -> User:
    """Return a user whose command for tokens lightkube runs: what it knows of v1beta1 is the same in v1."""
    command = user.exec
    if command is None or command.apiVersion != _EXEC_V1:
        return user
    # What kubectl tells such a command, so that it answers in its own version.
    information = {"apiVersion": _EXEC_V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    told = NameValue(name="KUBERNETES_EXEC_INFO", value=json.dumps(information))
    known = msgspec.structs.replace(command, apiVersion=f"{_EXEC_V1}beta1", env=[*(command.env or []), told])
    return msgspec.structs.replace(user, exec=known)


def _read(path: Path) -> KubeConfig:
    try:
        return KubeConfig.from_file(path)
    except ConfigError as error:
        raise ManagerError(f"the kubeconfig {path} does not exist", hint="name another with --kubeconfig") from error
    except OSError as error:
        raise ManagerError(f"the kubeconfig {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        # Not its text: there are keys in it.
        raise ManagerError(f"{path} is no kubeconfig ({type(error).__name__})", hint="correct it") from error
