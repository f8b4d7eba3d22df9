"""Owns what a stream asks for at each connection, what its answer means, and who takes in what follows. Pure.

It is to streams what `poll.Poll` is to polls. Connecting, and doing it again, is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headwater.config import ConnectorConfig, HttpOptions, transport_of
from headwater.config.url import over_http
from headwater.config.websocket import WebsocketOptions
from headwater.core.checkpoint import Checkpoint, Progress, StreamPosition
from headwater.core.errors import FetchError, RedirectError
from headwater.core.extract import Extractor
from headwater.core.http import Headers, Request, Response
from headwater.core.moment import Moment
from headwater.core.origin import origin, without_secrets
from headwater.sources.items import Items
from headwater.sources.judge import Action, Attempt, Policy, Verdict, judge
from headwater.sources.output import framing, phrase
from headwater.sources.policy import policy_of
from headwater.sources.poll import course_of
from headwater.sources.request import build_request, fingerprint
from headwater.sources.stream.intakes import EventIntake, FrameIntake
from headwater.sources.stream.receiving import Intake, Making, Receiving
from headwater.sources.stream.saying import Sayings
from headwater.sources.stream.socket import Socket, offered
from headwater.sources.websocket.talk import Talk

_EVENTS = "text/event-stream"
# The server's way to say that the client is not to come back (HTML standard, server-sent events).
_OVER = 204
# The slug of an answer that ends a stream for good.
OVER = "over"


class StreamSource:
    """What the connections of one connector ask and mean. Holds nothing: what is remembered is in the checkpoint."""

    __slots__ = (
        "_config",
        "_course",
        "_fingerprint",
        "_items",
        "_options",
        "_policy",
        "_request",
        "_sayings",
        "_values",
        "_websocket",
        "socket",
    )

    def __init__(self, config: ConnectorConfig) -> None:
        self._config = config
        self._options = options = config.http
        self.socket = options.source == "websocket"
        request = build_request(options, transport_of(config))
        headers = request.headers
        if not self.socket and options.framing == "sse":
            # A cache in between must not keep what never ends.
            headers = _beside(headers, (("Accept", _EVENTS), ("Cache-Control", "no-store")))
        idle = options.silence
        request = msgspec.structs.replace(
            request,
            headers=headers,
            stream=True,
            upgrade=self.socket,
            idle_timeout=None if idle is None else idle.total_seconds(),
        )
        self._request = request
        self._fingerprint = fingerprint(_telling(request), config.topic.name)
        self._websocket = options.websocket_config or WebsocketOptions()
        self._sayings = Sayings(self._websocket) if self.socket else None
        spaces = self._sayings.spaces if self._sayings is not None else frozenset()
        self._course = course_of(options, request, config.masker, spaces)
        self._policy = _policy(options, socket=self.socket)
        self._items = None if options.records is None else Items(options.records, self._course.pointers)
        self._values = Extractor(self._course.pointers)

    def begun(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint that connections go on from: what belongs to another stream is forgotten."""
        # One that somebody has set before the first start belongs to whatever is asked for.
        known = checkpoint.request in {"", self._fingerprint}
        return msgspec.structs.replace(
            checkpoint,
            request=self._fingerprint,
            # What only a poll remembers.
            etag=None,
            last_modified=None,
            media_type=checkpoint.media_type if known else "",
            body=None,
            remembered=None,
            pace=None,
            progress=Progress(cursors=checkpoint.progress.cursors) if checkpoint.progress is not None else None,
            stream=(checkpoint.stream if known else None) or StreamPosition(),
        )

    def request(self, checkpoint: Checkpoint, moment: Moment, key: str) -> Request:
        """Return the request of the next connection; `key` is the key of a WebSocket's handshake, new each time.

        Raises RequestError when a value for it is missing.
        """
        request = self._course.request(checkpoint.progress, moment)
        if self.socket:
            offer = offered(self._websocket, key)
            # The handshake is HTTP, and whoever performs it knows no other scheme.
            return msgspec.structs.replace(request, url=over_http(request.url), headers=_beside(request.headers, offer))
        position = checkpoint.stream
        if self._options.framing == "sse" and position is not None and position.event_id:
            headers = _beside(request.headers, (("Last-Event-ID", position.event_id),))
            return msgspec.structs.replace(request, headers=headers)
        return request

    def judge(self, outcome: Response | FetchError, *, now: float, renewed: bool, usual_type: str = "") -> Verdict:
        """Decide what the beginning of a connection means, by its head, or what it failed with.

        STORE: what follows is taken in. EMPTY: nothing does, and that is no trouble. There is no other attempt of one
        connection: what would be one is a FAIL, whose `wait` is how long the server asked to be left alone. `now` is
        Unix time in seconds, `usual_type` the media type of the connections before.
        """
        if isinstance(outcome, Response):
            return self._judge_head(outcome, now=now, renewed=renewed, usual_type=usual_type)
        return judge(outcome, _attempt(now, renewed=renewed), self._policy)

    def _judge_head(self, head: Response, *, now: float, renewed: bool, usual_type: str) -> Verdict:
        status = f"{head.status} {phrase(head.status)}".rstrip()
        if self._options.framing == "sse" and not self.socket and head.status == _OVER:
            return Verdict(Action.FAIL, f"{status}: the server says that the stream is over", OVER)
        if self.socket and 200 <= head.status < 300:
            return Verdict(Action.FAIL, f"{status} instead of 101 Switching Protocols: it is no WebSocket", "status")
        usual_type = "" if self.socket else usual_type
        verdict = judge(head, _attempt(now, renewed=renewed), self._policy, usual_type=usual_type)
        if verdict.action is Action.STORE:
            return msgspec.structs.replace(verdict, reason=status)
        if verdict.action is Action.EMPTY or verdict.action is Action.REAUTHENTICATE:
            return verdict
        return msgspec.structs.replace(verdict, action=Action.FAIL)

    def takes(self, head: Response, *, now: float, usual_type: str = "") -> bool:
        """Return whether what follows a head is to be taken in while it comes; else it is held, to be judged."""
        return self.judge(head, now=now, renewed=True, usual_type=usual_type).action is Action.STORE

    def receiving(
        self, request: Request, head: Response, checkpoint: Checkpoint, moment: Moment, key: str
    ) -> Receiving:
        """Return what takes in what follows a head; `moment` and `key` are those of the request.

        Raises ProtocolError for a handshake that is none, and RequestError for a message of which a value is missing.
        """
        options = self._options
        intake: Intake
        if self.socket:
            assert self._sayings is not None
            if self._sayings.secret and origin(head.url) != origin(request.url):
                raise RedirectError(
                    f"{request.method} {request.shown_url}: it was redirected to another origin, and what is said "
                    "there holds a secret",
                    hint="name that endpoint itself, if it is to know the secret",
                )
            scope = self._course.scope(checkpoint.progress or Progress(), moment)
            intake = Socket(
                self._websocket,
                head,
                key,
                options.max_record,
                talk=Talk(self._sayings.replies(scope), self._websocket.ignore),
                greeting=self._sayings.greeting(scope),
                keep_alive=self._sayings.beat(scope),
            )
        elif options.framing == "sse":
            position = checkpoint.stream or StreamPosition()
            intake = EventIntake(options.sse, options.max_record, position.event_id)
        else:
            intake = FrameIntake(options)
        records = options.records
        making = Making(
            head,
            request.shown_url,
            self._course,
            self._values,
            self._items,
            # These say themselves that each is JSON.
            records is not None and records.format == "json" and options.framing not in {"ndjson", "json-seq"},
            framing(head, json=options.output_type == "json", full=options.output_parts == "full"),
        )
        return Receiving(intake, making)


def _telling(request: Request) -> Request:
    """Return what of a request says which stream it is: not who asks, which changes with each key and release."""
    passed_over = request.secret_headers | {"user-agent"}
    headers = tuple(it for it in request.headers if it[0].lower() not in passed_over)
    return msgspec.structs.replace(request, headers=headers, url=without_secrets(request.url, request))


def _attempt(now: float, *, renewed: bool) -> Attempt:
    return Attempt(1, now, float("inf"), 0.0, renewed=renewed)


def _policy(options: HttpOptions, *, socket: bool) -> Policy:
    policy = msgspec.structs.replace(policy_of(options), attempts=1, body_only=False)
    if socket:
        return msgspec.structs.replace(policy, accepted=((101, 101),), content_types=())
    if options.framing == "sse" and not policy.content_types:
        return msgspec.structs.replace(policy, content_types=(_EVENTS,))
    return policy


def _beside(headers: Headers, more: Sequence[tuple[str, str]]) -> Headers:
    """Return headers with others that the configuration does not name itself."""
    named = {name.lower() for name, value in headers if (name.lower(), value) != ("accept", "*/*")}
    added = [(name, value) for name, value in more if name.lower() not in named]
    taken = {name.lower() for name, _ in added}
    return (*(it for it in headers if it[0].lower() not in taken), *added)
