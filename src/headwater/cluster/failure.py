"""Owns which error of ours an answer or a failed connection of a cluster is. Does not decide what is done then."""

from __future__ import annotations

import socket
import ssl

from headwater.core import errors
from headwater.core.errors import ClusterRefusedError, ClusterTimeoutError, ClusterUnreachableError, HeadwaterError
from headwater.fluvio.errorcode import NAMES, ErrorCode

# What an SPU says of a partition that it does not lead, or does not know yet or any more: another one may, in a moment.
MOVED = frozenset(
    NAMES[name]
    for name in (
        "NotLeaderForPartition",
        "PartitionNotLeader",
        "PartitionPendingInitialization",
        "TopicNotFound",
        "TopicPendingInitialization",
        "TopicNotProvisioned",
        "SpuOffline",
        "SpuNotFound",
    )
)
# What may pass without anybody asking differently.
_PASSING = MOVED - {NAMES["TopicNotFound"]} | {NAMES["StorageError"], NAMES["FetchSessionNotFoud"]}

_KINDS: dict[str, type[HeadwaterError]] = {
    "OffsetOutOfRange": errors.OffsetOutOfRangeError,
    "OffsetEvicted": errors.OffsetOutOfRangeError,
    "TopicNotFound": errors.TopicNotFoundError,
    "TopicDeleted": errors.TopicNotFoundError,
    "TopicAlreadyExists": errors.TopicExistsError,
    "TopicInvalidName": errors.TopicNameError,
    "MessageTooLarge": errors.RecordTooLargeError,
    "RequestTimedOut": ClusterTimeoutError,
    "SmartModuleNotFound": errors.SmartModuleError,
    "SmartModuleInvalid": errors.SmartModuleError,
    "SmartModuleInvalidExports": errors.SmartModuleError,
    "SmartModuleRuntimeError": errors.SmartModuleError,
    "SmartModuleChainInitError": errors.SmartModuleError,
    "SmartModuleInitError": errors.SmartModuleError,
    "SmartModuleLookBackError": errors.SmartModuleError,
    "SmartModuleMemoryLimitExceeded": errors.SmartModuleError,
}
_HINTS = {
    "OffsetOutOfRange": "the partition's records there are gone, or not there yet; begin where it begins",
    "OffsetEvicted": "the partition's records there are gone; begin where it begins",
    "TopicNotFound": "'headwater topic list' shows those there are",
    "PermissionDenied": "the cluster knows this client by its certificate; its administrator says what it may do",
    "StorageError": "the cluster's disk may be full or failing; its own log says more",
    "PartitionFull": "the topic's maximum size or the cluster's disk is too small",
    "SmartModuleNotFound": "load the module into the cluster, or give its code along",
    "UnknownServerError": "the cluster's own log says more",
}


class AgainError(Exception):
    """The same may be tried again with what is known then; `error` is what callers see when patience ends."""

    def __init__(self, error: HeadwaterError) -> None:
        super().__init__(str(error))
        self.error = error


def refused(code: ErrorCode, tried: str, message: str | None = None) -> HeadwaterError:
    """Return the error for an error code. `tried` says what was asked of whom; `message` is the server's own word."""
    said = message or code.sentence
    sentence, hint = f"{tried}: {said}", _HINTS.get(code.name, "")
    kind = _KINDS.get(code.name)
    if kind is not None:
        return kind(sentence, hint=hint)
    return ClusterRefusedError(
        f"{sentence} (code {code.number})", code.number, retryable=code.number in _PASSING, hint=hint
    )


def unreachable(error: BaseException | None, tried: str) -> ClusterUnreachableError:
    """Return the error for a connection that could not be made, or that broke; None is one that the server closed."""
    if error is None:
        hint = "is it a Fluvio port, and does it speak TLS as the profile says?"
        return ClusterUnreachableError(f"{tried}: the server closed the connection", "closed", hint=hint)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "the profile's domain and ca_cert must fit the cluster's certificate"
        return ClusterUnreachableError(
            f"{tried}: its certificate is not accepted: {error.verify_message}", "tls", hint=hint
        )
    if isinstance(error, ssl.SSLError):
        hint = "is it a TLS port, and does it take this client's certificate?"
        return ClusterUnreachableError(f"{tried}: TLS failed: {error.reason or error}", "tls", hint=hint)
    if isinstance(error, socket.gaierror):
        return ClusterUnreachableError(f"{tried}: the name does not resolve: {error.strerror}", "dns")
    if isinstance(error, TimeoutError):
        hint = "is it a Fluvio port, does it speak TLS as the profile says, and does a firewall let this through?"
        return ClusterUnreachableError(f"{tried}: there was no connection in time", "timeout", hint=hint)
    if isinstance(error, ConnectionRefusedError):
        hint = "is the cluster running, and is this its address?"
        return ClusterUnreachableError(f"{tried}: connection refused", "refused", hint=hint)
    if isinstance(error, ConnectionError):
        said = f": {error.strerror or error}" if error.strerror or str(error) else ""
        hint = "is it a Fluvio port, and does it speak TLS as the profile says?"
        return ClusterUnreachableError(f"{tried}: the connection broke{said}", "closed", hint=hint)
    return ClusterUnreachableError(f"{tried}: {error}", "connect")
