"""Owns the options of the `http:` section (today's dialect) and of `parameters:` (the page's): one field for each.

A field's type, default, description and example drive parsing, the JSON Schema, the reference page and the flags of
`headwater http`. Nothing about an option is written a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from headwater.config.adaptive import AdaptiveOptions
from headwater.config.auth import Auth, header_of
from headwater.config.changes import ChangesOptions
from headwater.config.children import ChildrenOptions
from headwater.config.cursor import Cursors
from headwater.config.deduplicate import DeduplicateOptions
from headwater.config.delimiter import Delimiter
from headwater.config.egress import EgressOptions
from headwater.config.fields import (
    Body,
    Duration,
    FilePath,
    Listed,
    Options,
    SecretText,
    Size,
    TemplatePairs,
    TemplateText,
    plain_text,
    positive,
)
from headwater.config.framing import Format, IdleTimeout, LengthPrefixOptions, SseOptions
from headwater.config.gap import GapOptions
from headwater.config.limits import LimitsOptions
from headwater.config.pagination import Pagination
from headwater.config.parts import Parts
from headwater.config.reconnect import ReconnectOptions
from headwater.config.records import RecordsOptions
from headwater.config.retry import RestartOptions, RetryOptions
from headwater.config.rules import RuleList
from headwater.config.sharing import CREDENTIAL_HEADERS, credential_of
from headwater.config.status import MediaTypes, Statuses
from headwater.config.tls import TlsOptions
from headwater.config.transport import Proxy, Version, check
from headwater.config.url import Method, check_headers, check_url, is_websocket
from headwater.config.websocket import WebsocketOptions
from headwater.config.window import WindowOptions
from headwater.config.zone import Zone
from headwater.core.secret import Text


def _spread(value: object) -> bool | None:
    value = plain_text(value)
    if isinstance(value, bool):
        return value
    words: dict[object, bool | None] = {"auto": None, "true": True, "false": False, None: None}
    if value not in words:
        raise ValueError("expected auto, true or false")
    return words[value]


Source = Literal["poll", "stream", "websocket"]
# A stream on which nothing has come for so long is taken for dead, unless it says otherwise.
_IDLE = timedelta(minutes=5)


class HttpOptions(Options):
    """What to request, when, what counts as an answer, and what of it becomes a record."""

    endpoint: TemplateText = Field(
        description="The URL to request, http or https; ws or wss for a WebSocket.",
        examples=["https://catfact.ninja/fact"],
    )
    method: Method = Field("GET", description="The HTTP method.", examples=["POST"])
    body: Body | None = Field(
        None,
        description="The body of the request: a text, or a map or list that is sent as JSON.",
        examples=['{"query":"cats"}'],
    )
    form: TemplatePairs | None = Field(
        None, description="A body of fields, sent as a form instead of `body`.", examples=[{"grant": "all"}]
    )
    stream: bool | None = Field(
        None,
        description="Take the response for one that goes on: each part of it becomes a record as soon as it is there. "
        "Default: false, or true where `format` is named.",
        examples=[True],
    )
    format: Format | None = Field(
        None,
        description="Of a stream: how it is cut. delimited (default): any bytes, at `delimiter`. ndjson: a JSON text "
        "in each line. json-seq: one behind each RS (RFC 7464). length-prefixed: any bytes, behind their length. sse: "
        "Server-Sent Events. Naming one says `stream: true`.",
        examples=["sse"],
    )
    delimiter: Delimiter | None = Field(
        None,
        description="Of a delimited stream: what stands between its parts. Default `\\n`; `\\t`, `\\0`, `\\x1e` may be "
        "written so.",
        examples=["\\n\\n"],
    )
    length_prefix: LengthPrefixOptions = Field(
        LengthPrefixOptions(),
        description="Of a length-prefixed stream: how lengths are written: the options of the table below.",
        examples=[{"size": 2}],
    )
    sse: SseOptions = Field(
        SseOptions(),
        description="Of Server-Sent Events: which become records, and their keys: the options of the table below.",
        examples=[{"events": ["update"], "key": "id"}],
    )
    websocket_config: WebsocketOptions | None = Field(
        None,
        description="What is said over a WebSocket, and how it is known to be alive: the options of the table below.",
        examples=[{"subscription_messages": ['{"op":"subscribe"}']}],
    )
    max_record: Size = Field(
        16 * 1024 * 1024,
        ge=1,
        description="Of a stream: the largest part, event or message; a larger one is a bad item.",
        examples=["1 MiB"],
    )
    idle_timeout: IdleTimeout | None = Field(
        None,
        description="Of a stream: a connection on which nothing has come for so long is ended and begun anew; `none` "
        "waits for ever. Default 5m; of a WebSocket `none`, for its pings tell.",
        examples=["1m"],
    )
    reconnect: ReconnectOptions = Field(
        ReconnectOptions(),
        description="Of a stream: how soon a connection follows the one before: the options of the table below.",
        examples=[{"max": "5m"}],
    )
    gap: GapOptions | None = Field(
        None,
        description="Of a stream: what is asked for about the time without a connection: the options of the table "
        "below. Default: nothing, but the ledger tells of it.",
        examples=[{"backfill": {"endpoint": "/trades", "params": {"since": "${{ window.start }}"}}}],
    )
    interval: Duration | None = Field(
        None,
        description="The time between polls; a bare number is seconds. Default 300 s in the page's dialect, else 10 s.",
        examples=["10s"],
    )
    cron: str | None = Field(
        None, description="Poll at these times instead: minute, hour, day, month, weekday.", examples=["*/5 * * * *"]
    )
    timezone: Zone = Field("UTC", description="The time zone of `cron`.", examples=["Europe/Berlin"])
    headers: TemplatePairs = Field(
        (), description="Headers to send: a map, or a list of `Name: value`.", examples=[{"X-Token": "abc"}]
    )
    params: TemplatePairs = Field(
        (), description="Query parameters added to the URL, encoded.", examples=[{"limit": 5}]
    )
    user_agent: SecretText | None = Field(
        None, description="The User-Agent header. Default `headwater/VERSION`.", examples=["my-app/1.0"]
    )
    record_id: bool = Field(
        False,
        description="Give each record without a key one that is the same when a crash has its exchange stored again, "
        "so that a topic with deduplication drops the repeat.",
        examples=[True],
    )
    output_type: Literal["text", "json"] = Field(
        "text", description="text: the body as it came. json: an object with the body as a text.", examples=["json"]
    )
    output_parts: Literal["body", "full"] = Field(
        "body", description="body alone, or full: status and headers too.", examples=["full"]
    )
    accept_status: Statuses = Field(
        ((200, 299),),
        description="Statuses that are records: numbers, ranges, `2xx`.",
        examples=[["2xx", 404]],
        json_schema_extra={"default": ["2xx"]},
    )
    accept_content_type: MediaTypes = Field(
        (),
        description="Media types that are records. Default: all, but HTML is refused where something else came before.",
        examples=[["application/json"]],
    )
    conditional: bool = Field(
        True,
        description="Send ETag and Last-Modified back, so that an unchanged answer (304) is no record.",
        examples=[False],
    )
    spread: Annotated[bool | None, BeforeValidator(_spread), WithJsonSchema({"enum": ["auto", True, False]})] = Field(
        None,
        description="Poll first at an own moment of the interval instead of at once. auto: beside over 1,000 others.",
        examples=[True],
    )
    connect_timeout: Duration = Field(
        timedelta(seconds=10), description="The longest time to connect.", examples=["3s"]
    )
    timeout: Duration = Field(
        timedelta(seconds=30),
        description="The longest time of a whole request; of a stream, until the head of the response is there.",
        examples=["1m"],
    )
    max_body: Size = Field(
        64 * 1024 * 1024,
        ge=1,
        description="The largest body, after decompression; a larger one is cut. Of a stream: that of a refusal.",
        examples=["1 MiB"],
    )
    max_redirects: int = Field(
        10, ge=0, le=100, description="How many redirects are followed; 0 refuses.", examples=[0]
    )
    http_version: Version = Field(
        "auto",
        description="auto: HTTP/2 where an https server offers it, else 1.1. 1.0 and 1.1: no other. 2: also asked for "
        "over http. 2-prior-knowledge: HTTP/2 over http from the first byte. 3: HTTP/3, or else what auto is; "
        "3-only: nothing else.",
        examples=["3"],
    )
    proxy: Proxy | None = Field(
        None,
        description="The proxy to go through: http, https, socks4, socks4a, socks5 or socks5h, with `USER:PASSWORD@` "
        "if it wants a login. Default: the environment's (`https_proxy`, ...); `none` is none in any case.",
        examples=["http://user:password@proxy.example.com:3128"],
    )
    no_proxy: Listed | None = Field(
        None,
        description="Hosts that are asked without a proxy: names with all below them, addresses, networks. Default: "
        "`no_proxy` of the environment.",
        examples=[["internal.example.com", ".corp", "10.0.0.0/8"]],
    )
    unix_socket: FilePath | None = Field(
        None,
        description="The path of a unix socket to connect to, whatever the URL's host.",
        examples=["/run/api.sock"],
    )
    cookies: bool = Field(
        False,
        description="Keep the cookies that a server sets, in memory, and send them back to the same scheme, host and "
        "port.",
        examples=[True],
    )
    tls: TlsOptions = Field(
        TlsOptions(),
        description="Whom to trust and who we are: the options of the table below.",
        examples=[{"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}],
    )
    egress: EgressOptions | None = Field(
        None,
        description="Where requests may go: the options of the table below. Default: anywhere that the process may.",
        examples=[{"policy": "public", "allow": ["10.1.0.0/16"]}],
    )
    auth: Auth | None = Field(
        None,
        description="How requests show who sends them: a map with a `type:`, and the options of its table below.",
        examples=[{"type": "bearer", "token_file": "/run/secrets/token"}],
    )
    retry: RetryOptions = Field(
        RetryOptions(),
        description="How a failed request is sent again: the options of the table below.",
        examples=[{"attempts": 3}],
    )
    rules: RuleList = Field(
        (),
        description="What answers mean that look like this: a list of the options of the table below; the first that "
        "matches counts.",
        examples=[[{"status": [404], "do": "ignore"}]],
    )
    limits: LimitsOptions | None = Field(
        None,
        description="How often the server is asked at most: the options of the table below. Default: no limits.",
        examples=[{"rate": "10/1s"}],
    )
    adaptive: AdaptiveOptions | None = Field(
        None,
        description="An interval that follows the changes: the options of the table below. Default: it is fixed.",
        examples=[{"fastest": "5s", "slowest": "10m"}],
    )
    restart: RestartOptions = Field(
        RestartOptions(),
        description="What becomes of a connector that crashed: the options of the table below.",
        examples=[{"attempts": 5}],
    )

    records: RecordsOptions | None = Field(
        None,
        description="What of an answer becomes records: the options of the table below. Default: one record, as "
        "`output_type` and `output_parts` say.",
        examples=[{"split": "/items", "key": "/id"}],
    )
    cursor: Cursors = Field(
        {},
        description="What is remembered of the answers, by names: the options of the table below, or a pointer.",
        examples=[{"updated": {"from": "/updated_at"}}],
    )
    window: WindowOptions | None = Field(
        None,
        description="The span of time that a request asks for: the options of the table below.",
        examples=[{"size": "1h"}],
    )
    pagination: Pagination = Field(
        None,
        description="How the pages of an answer follow each other: the options of the table below, or a type.",
        examples=["auto"],
    )
    deduplicate: DeduplicateOptions | None = Field(
        None,
        description="Leave out items that were seen before: the options of the table below.",
        examples=[{"by": "/id", "count": 100_000}],
    )
    changes: ChangesOptions | None = Field(
        None,
        description="Append what has changed of a collection, instead of its items each time: the options of the table "
        "below.",
        examples=[{"key": "/id"}],
    )

    children: ChildrenOptions | None = Field(
        None,
        description="Requests about each item, whose items are records too: the options of the table below.",
        examples=[{"endpoint": "/orders/${{ item./id }}/lines", "records": {"split": "/"}}],
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: Text) -> Text:
        return check_url(value, websocket=True)

    @field_validator("auth", "egress", mode="before")
    @classmethod
    def _check_there(cls, value: object) -> object:
        if value is None:
            # A key whose lines are commented out would open what it was to close.
            raise ValueError("expected a map; got nothing")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: tuple[tuple[str, Text], ...]) -> tuple[tuple[str, Text], ...]:
        return check_headers(value)

    @field_validator("interval", "connect_timeout", "timeout")
    @classmethod
    def _check_positive(cls, value: timedelta | None) -> timedelta | None:
        return positive(value)

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value

    @model_validator(mode="after")
    def _check_auth(self) -> Any:
        filled = header_of(self.auth)
        if self.auth is not None and filled in {name.lower() for name, _ in self.headers}:
            raise ValueError(f"headers and auth both say what {filled} is; leave one of them out")
        if filled == "authorization" and "@" in urlsplit(self.endpoint.reveal().strip()).netloc:
            raise ValueError("endpoint names a user, and auth says who it is; leave one of them out")
        return self

    @model_validator(mode="after")
    def _check_records(self) -> Any:
        if self.records is not None and (self.output_type != "text" or self.output_parts != "body"):
            raise ValueError(
                "output_type and output_parts make one record of a whole answer, and records makes one of each item; "
                "leave them out: records.metadata has the status and the headers"
            )
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> Any:
        if self.cron is not None and self.interval is not None:
            raise ValueError("name either interval or cron")
        if self.body is not None and self.form is not None:
            raise ValueError("name either body or form")
        if self.cron is not None and self.adaptive is not None:
            raise ValueError("adaptive changes an interval; it cannot change a cron")
        return self

    @model_validator(mode="after")
    def _check_who_asks(self) -> Any:
        if self.limits is not None and self.limits.share == "credential" and credential_of(self) is None:
            raise ValueError("limits.share is credential, but nothing says who asks: no secret, no Authorization")
        if self.auth is None and any(rule.do == "reauthenticate" for rule in self.rules):
            raise ValueError("a rule has do: reauthenticate, but there is no auth that could be renewed")
        return self

    @model_validator(mode="after")
    def _check_transport(self) -> Any:
        check(self)
        return self

    @property
    def source(self) -> Source:
        """Where records come from: polls, one long response, or a WebSocket."""
        if is_websocket(self.endpoint.reveal()):
            return "websocket"
        streams = self.format is not None if self.stream is None else self.stream
        return "stream" if streams else "poll"

    @property
    def framing(self) -> Format:
        """How a stream is cut into frames."""
        return self.format or "delimited"

    @property
    def silence(self) -> timedelta | None:
        """How long a stream may be silent, None for ever."""
        if self.idle_timeout is None:
            return _IDLE if self.source == "stream" else None
        return None if self.idle_timeout == "none" else self.idle_timeout

    @property
    def remembers(self) -> bool:
        """Whether items are remembered from one poll to the next."""
        return self.changes is not None or self.deduplicate is not None

    @property
    def parts(self) -> Parts:
        """The parts of the request that may have expressions."""
        return Parts(self.endpoint, self.params, self.headers, self.body, self.form)


def credentials(options: HttpOptions) -> Iterator[str]:
    """Yield the secrets that stand in the options themselves: of the URL, and of headers that carry credentials."""
    yield from options.endpoint.parts
    for name, value in options.headers:
        if name.lower() in CREDENTIAL_HEADERS:
            # Without the scheme too: a server echoes the token alone.
            yield from (value.reveal(), value.reveal().partition(" ")[2])


def check_cron(expression: str) -> None:
    """Raise ValueError unless the expression is one, and comes true some day."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only configurations with a cron need it

    try:
        if next(CronSim(expression, datetime.now(UTC)), None) is None:
            raise ValueError(f"{expression!r} never comes true")
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no cron expression ({error}); write '*/5 * * * *'") from None
