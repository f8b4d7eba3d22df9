"""Owns the one tree of errors. Does not decide what is done about them: the engine does, once, from the type.

Every error that leaves Headwater is one of these, split by what the caller should do::

    HeadwaterError
    ├── ConfigError                 fix the file: holds every problem with its position          exit 3
    ├── UnavailableError            asked for something this version cannot do yet               exit 3
    ├── ProfileError                no such profile, a broken file of them, or unfit certificates   exit 3
    ├── FetchError                  an exchange failed before there was a whole response
    │   ├── DnsError                    the name does not resolve                     retry
    │   ├── ConnectError                refused, unreachable, no route                retry
    │   ├── ConnectTimeoutError         no connection in time                         retry
    │   ├── TlsError                    handshake or certificate                      fix, not retried at once
    │   ├── ProxyError                  the proxy wants a login, or refuses           fix, not retried at once
    │   ├── ResetError                  the peer closed or reset in the middle        retry
    │   ├── TruncatedError              the body ended early                          retry
    │   ├── ProtocolError               not HTTP, a bad chunk, a bad encoding         retry
    │   ├── ReadTimeoutError            the response was not complete in time         retry
    │   ├── BodyTooLargeError           the body passed its bound and was cut         fix, not retried at once
    │   ├── RedirectError               too many redirects, or one that is refused    fix, not retried at once
    │   ├── CredentialError             no token could be had now                     retry
    │   │   └── CredentialRefusedError      there is none to be had: a wrong secret       fix, not retried at once
    │   ├── EgressError                 the policy does not let it connect there      fix, not retried at once
    │   └── RequestError                the request cannot be sent as written         fix, not retried at once
    ├── TopicError                  the log answered no
    │   ├── TopicNotFoundError
    │   ├── TopicExistsError
    │   ├── TopicNameError
    │   ├── PartitionNotFoundError
    │   ├── OffsetOutOfRangeError
    │   └── RecordTooLargeError
    ├── ClusterError                a Fluvio cluster did not do what was asked                   exit 4
    │   ├── ClusterUnreachableError     refused, no such host, TLS, closed            retry, but for TLS
    │   ├── ClusterTimeoutError         no answer in time                             retry
    │   ├── ClusterProtocolError        what came back is not Fluvio's protocol       fix, not retried at once
    │   └── ClusterRefusedError         its answer is an error code                   the code says
    ├── BatchError                  bytes that are not a Fluvio batch
    ├── WireError                   bytes that are not a message of Fluvio's protocol
    ├── SmartModuleError            a module cannot be found, loaded or called, or broke its interface
    │   └── SmartModuleTrapError        it crashed, ran too long or out of memory
    ├── ConnectorError              whoever manages connectors answered no
    │   ├── ConnectorNotFoundError
    │   ├── ConnectorExistsError
    │   └── ConnectorOwnedError         it is kept by somebody else: change it there
    ├── ManagerError                whoever manages connectors cannot be reached                 exit 4
    ├── ServerError                 the server cannot listen, or its certificates cannot be used
    └── LogError                    the data directory cannot be used                            exit 4
        ├── LogLockedError              another process writes it
        ├── LogFullError                no space: wait, then go on                    retry
        ├── LogReadOnlyError            the directory or its disk is read-only        retry
        ├── LogIOError                  the disk failed                               retry
        ├── LogCorruptError             the file is damaged, or not a log
        ├── LogServerGoneError          the server that has it open is away           retry
        └── LogClosedError              used after close
"""

from __future__ import annotations

from typing import ClassVar


class HeadwaterError(Exception):
    """Root of the tree. `message` says what was tried and what came back; `hint` says what to do about it."""

    exit_code: ClassVar[int] = 1
    hint: str

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """The sentence without the hint."""
        return str(self.args[0])

    def report(self) -> str:
        """Return what a command prints: the sentence and, below it, the hint."""
        return f"headwater: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class ConfigError(HeadwaterError):
    """A configuration cannot be used. See `headwater.config.problem.InvalidConfigError` for the one with positions."""

    exit_code = 3


class UnavailableError(HeadwaterError):
    """The configuration asks for something that this version does not do."""

    exit_code = 3


class ProfileError(HeadwaterError):
    """Which log or cluster is meant cannot be told: no such profile, a broken file, certificates that do not fit."""

    exit_code = 3


class FetchError(HeadwaterError):
    """An exchange failed before a whole response was there.

    `retryable`: whether the same request may succeed a moment later.
    `sent`: whether the server may have seen the request, so that sending it again is not harmless for a POST.
    `slug`: the stable word for metrics and the ledger.
    """

    retryable: ClassVar[bool] = True
    sent: bool = True
    slug: ClassVar[str] = "fetch"


class DnsError(FetchError):
    """The host name does not resolve."""

    sent = False
    slug = "dns"


class ConnectError(FetchError):
    """The connection was refused, or there is no way to the host."""

    sent = False
    slug = "connect"


class ConnectTimeoutError(FetchError):
    """There was no connection within the connect time-out."""

    sent = False
    slug = "connect-timeout"


class TlsError(FetchError):
    """The TLS handshake failed, or the certificate is not trusted."""

    retryable = False
    sent = False
    slug = "tls"


class ProxyError(FetchError):
    """The proxy wants a login, or does not let the request through. No server has seen it."""

    retryable = False
    sent = False
    slug = "proxy"


class ResetError(FetchError):
    """The peer closed or reset the connection before the response was complete."""

    slug = "reset"


class TruncatedError(FetchError):
    """The body is shorter than its Content-Length, or its last chunk is missing."""

    slug = "truncated"


class ProtocolError(FetchError):
    """What came back is not HTTP: a bad status line, a bad chunk, a body that does not decompress."""

    slug = "protocol"


class ReadTimeoutError(FetchError):
    """The response was not complete within the total time-out."""

    slug = "timeout"


class BodyTooLargeError(FetchError):
    """The body passed its bound. The connection was cut and nothing is kept."""

    retryable = False
    slug = "body-too-large"


class RedirectError(FetchError):
    """Too many redirects, or one to a place that is not followed."""

    retryable = False
    slug = "redirect"


class EgressError(FetchError):
    """The egress policy does not allow a connection to this host or address. Nothing was sent there."""

    retryable = False
    sent = False
    slug = "egress"


class RequestError(FetchError):
    """The request cannot be sent as it is written."""

    retryable = False
    sent = False
    slug = "request"


class CredentialError(FetchError):
    """What a request needs to be let in could not be had now: the request itself was not sent."""

    sent = False
    slug = "auth"


class CredentialRefusedError(CredentialError):
    """What a request needs to be let in is not to be had: a secret is wrong, or a refresh token is over."""

    retryable = False


class TopicError(HeadwaterError):
    """The log answered no."""


class TopicNotFoundError(TopicError):
    """There is no topic of that name."""


class TopicExistsError(TopicError):
    """There is a topic of that name already."""


class TopicNameError(TopicError):
    """The name is not one that Fluvio allows."""


class PartitionNotFoundError(TopicError):
    """The topic has no such partition."""


class OffsetOutOfRangeError(TopicError):
    """The offset is below the start of the partition or beyond its end."""


class RecordTooLargeError(TopicError):
    """One record does not fit into one batch of the log."""


class ClusterError(HeadwaterError):
    """A Fluvio cluster did not do what was asked.

    `retryable`: whether the same call may succeed a moment later.
    `slug`: the stable word for metrics.
    """

    exit_code = 4
    retryable: bool = False
    slug: str = "cluster"


class ClusterUnreachableError(ClusterError):
    """There is no connection to a server of the cluster. `slug` says why: refused, dns, timeout, tls, closed."""

    def __init__(self, message: str, slug: str = "closed", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.slug = slug
        self.retryable = slug != "tls"


class ClusterTimeoutError(ClusterError):
    """A server of the cluster did not answer in time. Whether it did what was asked is not known."""

    retryable = True
    slug = "timeout"


class ClusterProtocolError(ClusterError):
    """What came back is not Fluvio's protocol, or not in a version that is spoken here."""

    slug = "protocol"


class ClusterRefusedError(ClusterError):
    """The cluster answered with the error code `code`."""

    slug = "refused"

    def __init__(self, message: str, code: int, *, retryable: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retryable = retryable


class BatchError(HeadwaterError):
    """The bytes are not a batch of the format that Fluvio writes."""


class WireError(HeadwaterError):
    """The bytes are not a message of Fluvio's protocol, or a value does not fit into one."""


class SmartModuleError(HeadwaterError):
    """A SmartModule cannot be found, loaded or initialised, or what it returned is not what its interface says."""

    exit_code = 3


class SmartModuleTrapError(SmartModuleError):
    """A SmartModule crashed, ran too long, or ran out of memory. `slug` says which, for metrics."""

    def __init__(self, message: str, slug: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.slug = slug


class ConnectorError(HeadwaterError):
    """Whoever manages connectors answered no."""


class ConnectorNotFoundError(ConnectorError):
    """There is no connector of that name."""


class ConnectorExistsError(ConnectorError):
    """There is a connector of that name already."""


class ConnectorOwnedError(ConnectorError):
    """The connector is kept by somebody else: a file of a watched directory, another tool."""


class ManagerError(HeadwaterError):
    """Whoever manages connectors cannot be reached, or made no sense."""

    exit_code = 4


class ServerError(HeadwaterError):
    """The server cannot listen where it is to, or its certificates cannot be used."""


class LogError(HeadwaterError):
    """The data directory cannot be used. `retryable`: whether the same call may succeed when the cause is gone."""

    exit_code = 4
    retryable: ClassVar[bool] = False


class LogLockedError(LogError):
    """Another process writes this data directory; the message says which."""


class LogFullError(LogError):
    """There is no space left. Nothing was written; the same append succeeds once there is space."""

    retryable = True


class LogReadOnlyError(LogError):
    """The directory, its file or its disk is read-only."""

    retryable = True


class LogIOError(LogError):
    """The disk failed to read or write."""

    retryable = True


class LogCorruptError(LogError):
    """The file is damaged, or is not a Headwater log."""


class LogClosedError(LogError):
    """The log was used after it was closed."""


class LogServerGoneError(LogError):
    """The server that has the log open does not answer. It is asked again when it is back."""

    retryable = True
