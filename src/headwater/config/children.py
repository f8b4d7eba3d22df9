"""Owns the options of `children:`: requests about each item of an answer, whose items become records as well.

Making and judging the requests is `sources.children`', sending them `engine.children`'.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from headwater.config.fields import Body, Options, PointerOption, TemplatePairs, TemplateText
from headwater.config.pagination import Pagination
from headwater.config.parts import Parts
from headwater.config.records import RecordsOptions
from headwater.config.rules import RuleList
from headwater.config.url import Method, check_path_or_url
from headwater.core.secret import Text

# Formats whose items are JSON, which can stand beside that of their parent.
_JSON = frozenset({"json", "ndjson", "json-seq", "csv"})


class ChildrenOptions(Options):
    """Requests about each item of an answer: comments of an article, lines of an order."""

    endpoint: TemplateText = Field(
        description="The URL: whole, a path at the same host, or an expression that is one, of the same origin.",
        examples=["/orders/${{ item./id }}/lines"],
    )
    method: Method = Field("GET", description="The HTTP method.", examples=["POST"])
    headers: TemplatePairs = Field((), description="Headers besides those of the connector.", examples=[{"X-A": "b"}])
    params: TemplatePairs = Field((), description="Query parameters added to the URL, encoded.", examples=[{"all": 1}])
    body: Body | None = Field(None, description="The body: a text, or a map or list that is sent as JSON.")
    form: TemplatePairs | None = Field(None, description="A body of fields, sent as a form instead of `body`.")
    records: RecordsOptions = Field(
        RecordsOptions(), description="What of the answers becomes records, as in `records:` of the connector."
    )
    pagination: Pagination = Field(
        None, description="How the pages of such an answer follow each other.", examples=["link"]
    )
    rules: RuleList = Field(
        (),
        description="What their answers mean, as in `rules:` of the connector; what is gone (404, 410) has none.",
        examples=[[{"status": 403, "do": "ignore"}]],
    )
    parent: Literal["drop", "keep", "embed"] = Field(
        "drop",
        description="What becomes of the item itself: it is no record, it is one before those of its children, or it "
        'stands in each of them: `{"parent": ..., "child": ...}`.',
        examples=["embed"],
    )
    only_if: PointerOption | None = Field(
        None,
        description="Ask only about items that have something there: not null, false, 0, nor empty.",
        examples=["/comments"],
    )
    concurrency: int = Field(
        4, ge=1, le=64, description="How many requests are under way at the same time.", examples=[1]
    )
    max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="The most requests for one answer; with more the poll fails.",
        examples=[100],
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: Text) -> Text:
        value = value.behind(0, str(value).strip())
        if value.spans and value.spans[0][0] == 0:
            if value.spans[0][1] != len(value.reveal()):
                raise ValueError(
                    "an expression at the beginning is the whole URL; else write a path: /x/${{ item./id }}"
                )
            return value
        return check_path_or_url(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.body is not None and self.form is not None:
            raise ValueError("name either body or form")
        if self.parent == "embed" and self.records.format not in _JSON and not self.records.as_json:
            raise ValueError(f"parent: embed needs items of JSON, and these are {self.records.format}")
        if self.pagination is not None and self.pagination.stop_at is not None:
            raise ValueError("stop_at is for the pages of the connector itself")
        return self

    @property
    def parts(self) -> Parts:
        """The parts of the request that may have expressions."""
        return Parts(self.endpoint, self.params, self.headers, self.body, self.form)
