"""Owns the polling source: its request, the judgement of the answer, the record, and what to remember.

Pure: it never waits, sends or stores. The engine does all three with what this returns.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from headwater.config import ConnectorConfig, HttpOptions
from headwater.config.sharing import CREDENTIAL_HEADERS
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.core.http import Headers, Request, Response, ascii_url
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.core.secret import Text
from headwater.sources.judge import Attempt, Policy, Verdict, accept, judge, media_type
from headwater.sources.limits.headers import quota_names
from headwater.sources.output import render
from headwater.sources.reaped import Reaped
from headwater.sources.rules import Rules
from headwater.version import __version__

# Validators longer than this are not worth sending back, and a hostile server could fill the checkpoint with them.
_LONGEST_VALIDATOR = 1024


class Poll:
    """A polling source, made once per connector from its configuration. Holds no state: that is the checkpoint's.

    It remembers what the headers of the last response said, for answers repeat theirs.
    """

    __slots__ = ("_conditional", "_fingerprint", "_full", "_headers", "_json", "_policy", "_request", "_said", "_usual")

    def __init__(self, config: ConnectorConfig) -> None:
        options = config.http
        self._policy = _policy(options)
        # Rules know circumstances; what is judged without them then accepts nothing.
        self._usual = msgspec.structs.replace(self._policy, accepted=()) if self._policy.rules else self._policy
        self._request = build_request(options)
        self._conditional = options.conditional and options.method in {"GET", "HEAD"}
        self._json = options.output_type == "json"
        self._full = options.output_parts == "full"
        self._fingerprint = fingerprint(self._request, config.topic.name)
        self._headers: Headers | None = None
        self._said: tuple[str | None, str | None, str] = (None, None, "")

    @property
    def plain(self) -> bool:
        """Whether each round is one exchange that needs nothing but the checkpoint."""
        return True

    def request(self, checkpoint: Checkpoint, moment: Moment) -> Request:  # noqa: ARG002 - requests without templates
        """Return the request of the next attempt: the configured one, with the validators of its last answer."""
        if (checkpoint.etag is None and checkpoint.last_modified is None) or not self.conditional(checkpoint):
            return self._request
        headers = list(self._request.headers)
        if checkpoint.etag is not None:
            headers.append(("If-None-Match", checkpoint.etag))
        if checkpoint.last_modified is not None:
            headers.append(("If-Modified-Since", checkpoint.last_modified))
        return msgspec.structs.replace(self._request, headers=tuple(headers))

    def conditional(self, checkpoint: Checkpoint) -> bool:
        """Return whether `request` carries validators with this checkpoint."""
        return (
            self._conditional
            and checkpoint.request == self._fingerprint
            and (checkpoint.etag is not None or checkpoint.last_modified is not None)
        )

    def accept(self, response: Response, checkpoint: Checkpoint) -> Verdict | None:
        """Decide what a response means when no circumstances matter to it. See `headwater.sources.judge`."""
        usual = checkpoint.media_type if checkpoint.request == self._fingerprint else ""
        return accept(response, self._usual, usual_type=usual, kind=self._heard(response)[2])

    def judge(self, outcome: Response | FetchError, attempt: Attempt, checkpoint: Checkpoint) -> Verdict:
        """Decide what one attempt means. See `headwater.sources.judge`."""
        usual = checkpoint.media_type if checkpoint.request == self._fingerprint else ""
        return judge(outcome, attempt, self._policy, usual_type=usual)

    def reap(self, response: Response, checkpoint: Checkpoint, moment: Moment) -> Reaped:
        """Return what an accepted response comes to: one record, with a null key, stamped at the append."""
        records = (Record(render(response, json=self._json, full=self._full)),)
        etag, last_modified, kind = self._heard(response)
        return Reaped(
            records,
            Checkpoint(
                checkpoint.exchanges + 1,
                checkpoint.records + len(records),
                moment.scheduled,
                self._fingerprint,
                etag,
                last_modified,
                kind[:100],
            ),
        )

    def _heard(self, response: Response) -> tuple[str | None, str | None, str]:
        """Return the validators of a response, as far as they are sent back, and its media type."""
        # The fetch engine gives the same headers again while their lines are the same.
        if response.headers is not self._headers:
            etag = last_modified = None
            if self._conditional:
                for name, value in response.headers:
                    if name == "etag":
                        etag = _validator(value)
                    elif name == "last-modified":
                        last_modified = _validator(value)
            self._said = (etag, last_modified, media_type(response))
            self._headers = response.headers
        return self._said


def build_request(options: HttpOptions) -> Request:
    """Return the request that the options describe, secrets included in `url` and `headers`, masked in `shown_url`."""
    headers, secret = _headers(options)
    body = None if options.body is None else options.body.reveal().encode()
    return Request(
        method=options.method,
        url=_url(options, shown=False),
        shown_url=_url(options, shown=True),
        headers=headers,
        body=body,
        secret_headers=secret,
        connect_timeout=options.connect_timeout.total_seconds(),
        total_timeout=options.timeout.total_seconds(),
        max_body=options.max_body,
        max_redirects=options.max_redirects,
    )


def fingerprint(request: Request, topic: str) -> str:
    """Return 16 hex digits that change whenever validators of earlier answers stop being valid."""
    digest = hashlib.blake2b(digest_size=8)
    parts = [topic, request.method, request.url, *(f"{name.lower()}:{value}" for name, value in request.headers)]
    for part in parts:
        digest.update(part.encode() + b"\0")
    digest.update(request.body or b"")
    return digest.hexdigest()


def _policy(options: HttpOptions) -> Policy:
    limits = options.limits
    return Policy(
        method=options.method,
        accepted=options.accept_status,
        content_types=options.accept_content_type,
        attempts=options.retry.attempts,
        initial=options.retry.initial.total_seconds(),
        longest=options.retry.max.total_seconds(),
        retry_after_longest=options.retry.retry_after_max.total_seconds(),
        body_only=options.output_parts == "body",
        rules=Rules(options.rules) if options.rules else None,
        quota=limits is None or limits.quota == "auto",
        names=None if limits is None else quota_names(limits.quota_headers),
    )


def _headers(options: HttpOptions) -> tuple[Headers, frozenset[str]]:
    given = {name.lower() for name, _ in options.headers}
    headers = [(name, value.reveal()) for name, value in options.headers]
    if "user-agent" not in given:
        agent = f"headwater/{__version__}" if options.user_agent is None else options.user_agent.reveal()
        headers.insert(0, ("User-Agent", agent))
    if "accept" not in given:
        headers.append(("Accept", "*/*"))
    secret = {name.lower() for name, value in options.headers if value.secret or name.lower() in CREDENTIAL_HEADERS}
    return tuple(headers), frozenset(secret)


def _url(options: HttpOptions, *, shown: bool) -> str:
    """Build the URL with `params` added, and what is not a URL character encoded; what is encoded already stays."""
    text = str if shown else Text.reveal
    parts = urlsplit(text(options.endpoint))
    # A masked part must stay readable: `***`, not %2A%2A%2A.
    query = parts.query
    for name, value in options.params:
        pair = f"{quote(name, safe='')}={quote(text(value), safe='*' if shown else '')}"
        query = f"{query}&{pair}" if query else pair
    url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
    return url if shown else ascii_url(url)


def _validator(value: str) -> str | None:
    return value if value and len(value) <= _LONGEST_VALIDATOR and value.isprintable() else None
