"""Owns the options of `gap:`: what is asked for about the time in which a stream had no connection.

What a poll comes of them is `backfill`'s to say, asking the engine's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, field_validator, model_validator

from headwater.config.fields import Body, Duration, Options, Size, TemplatePairs, TemplateText, positive
from headwater.config.pagination import Pagination
from headwater.config.parts import Parts
from headwater.config.records import RecordsOptions
from headwater.config.retry import RetryOptions
from headwater.config.rules import RuleList
from headwater.config.status import MediaTypes, Statuses
from headwater.config.url import Method, check_headers, check_path_or_url
from headwater.core.secret import Text


class GapBackfillOptions(Options):
    """The poll that asks for what happened meanwhile: from `${{ window.start }}` up to `${{ window.end }}`."""

    endpoint: TemplateText = Field(
        description="The URL, http or https: whole, or a path at the stream's own host.", examples=["/trades"]
    )
    method: Method = Field("GET", description="The HTTP method.", examples=["POST"])
    headers: TemplatePairs = Field(
        (),
        description="Headers besides those of the connector that hold no expressions; its Accept is left out.",
        examples=[{"X-A": "b"}],
    )
    params: TemplatePairs = Field(
        (),
        description="Query parameters added to the URL, encoded.",
        examples=[{"from": "${{ window.start }}", "to": "${{ window.end }}"}],
    )
    body: Body | None = Field(None, description="The body: a text, or a map or list that is sent as JSON.")
    form: TemplatePairs | None = Field(None, description="A body of fields, sent as a form instead of `body`.")
    size: Duration | None = Field(
        None,
        description="The longest time that one request asks for; a longer gap is asked for in several. Default: all "
        "of it.",
        examples=["1h"],
    )
    records: RecordsOptions = Field(
        RecordsOptions(), description="What of the answers becomes records, as in `records:` of a poll."
    )
    pagination: Pagination = Field(
        None, description="How the pages of such an answer follow each other.", examples=["link"]
    )
    accept_status: Statuses = Field(
        ((200, 299),),
        description="Statuses that are records, as of a poll.",
        examples=[["2xx", 404]],
        json_schema_extra={"default": ["2xx"]},
    )
    accept_content_type: MediaTypes = Field(
        (), description="Media types that are records. Default: all.", examples=[["application/json"]]
    )
    rules: RuleList = Field(
        (),
        description="What their answers mean, as in `rules:` of the connector.",
        examples=[[{"status": 404, "do": "ignore"}]],
    )
    retry: RetryOptions = Field(
        RetryOptions(), description="How a failed request is sent again, as of a poll.", examples=[{"attempts": 3}]
    )
    timeout: Duration = Field(
        timedelta(seconds=30), description="The longest time of a whole request.", examples=["1m"]
    )
    max_body: Size = Field(
        64 * 1024 * 1024,
        ge=1,
        description="The largest body, after decompression; a larger one is cut.",
        examples=["1 MiB"],
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: Text) -> Text:
        return check_path_or_url(value)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: tuple[tuple[str, Text], ...]) -> tuple[tuple[str, Text], ...]:
        return check_headers(value)

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError("it must be 1s at least")
        return value

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, value: timedelta) -> timedelta:
        return positive(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.body is not None and self.form is not None:
            raise ValueError("name either body or form")
        if self.pagination is not None and self.pagination.stop_at is not None:
            raise ValueError("stop_at goes by a cursor, and a gap has none; it ends with ${{ window.end }}")
        return self

    @property
    def parts(self) -> Parts:
        """The parts of the request that may have expressions."""
        return Parts(self.endpoint, self.params, self.headers, self.body, self.form)


class GapOptions(Options):
    """What becomes of the time in which there was no connection, beside its entry in the ledger."""

    backfill: GapBackfillOptions = Field(
        description="The poll that asks for what happened meanwhile: the options of the table below.",
        examples=[{"endpoint": "/trades", "params": {"from": "${{ window.start }}", "to": "${{ window.end }}"}}],
    )
    shortest: Duration = Field(
        timedelta(seconds=1), description="Gaps that are shorter are not asked for.", examples=["10s"]
    )
