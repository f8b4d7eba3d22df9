"""Owns the options of the kinds that send a token as it is: bearer and api-key, from a text or from a file."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headwater.config.auth.parts import HeaderName, Prefix, Word, check_place, filled, no_control, one_of, only_with
from headwater.config.fields import Duration, FilePath, Hidden, Options
from headwater.core.secret import Text

_REFRESH = timedelta(seconds=10)


class BearerAuth(Options):
    """A token in a header (RFC 6750)."""

    type: Literal["bearer"] = Field(description="The kind: bearer.", examples=["bearer"])
    token: Hidden | None = Field(None, description="The token.", examples=["${{ secrets.TOKEN }}"])
    token_file: FilePath | None = Field(
        None,
        description="A file that holds the token, and may hold another one later.",
        examples=["/var/run/secrets/kubernetes.io/serviceaccount/token"],
    )
    refresh: Duration = Field(
        _REFRESH, description="How often the file is looked at; and at once after a 401.", examples=["1m"]
    )
    header: HeaderName = Field("Authorization", description="The header that it goes into.", examples=["X-Auth-Token"])
    prefix: Prefix = Field("Bearer", description="What stands before it; empty for nothing.", examples=["Token"])

    @field_validator("refresh")
    @classmethod
    def _check_refresh(cls, value: timedelta) -> timedelta:
        return _at_least_a_second(value)

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: Text | None) -> Text | None:
        return no_control(filled(value))

    @model_validator(mode="after")
    def _check(self) -> Any:
        one_of(self, "token", "token_file")
        only_with(self, "token_file", ("refresh",), holds=self.token_file is not None)
        return self


class ApiKeyAuth(Options):
    """A key in a header, in a parameter of the query, or in a cookie."""

    type: Literal["api-key"] = Field(description="The kind: api-key.", examples=["api-key"])
    name: Word = Field(
        "X-API-Key", min_length=1, description="The name of the header, parameter or cookie.", examples=["api_key"]
    )
    value: Hidden | None = Field(None, description="The key.", examples=["${{ secrets.API_KEY }}"])
    value_file: FilePath | None = Field(
        None, description="A file that holds the key, and may hold another one later.", examples=["/run/secrets/key"]
    )
    refresh: Duration = Field(
        _REFRESH, description="How often the file is looked at; and at once after a 401.", examples=["1m"]
    )
    in_: Literal["header", "query", "cookie"] = Field(
        "header", validation_alias="in", description="Where the key goes.", examples=["query"]
    )
    prefix: Prefix = Field("", description="What stands before it, such as `Token`.", examples=["Token"])

    @field_validator("value")
    @classmethod
    def _check_value(cls, value: Text | None) -> Text | None:
        return filled(value)

    @field_validator("refresh")
    @classmethod
    def _check_refresh(cls, value: timedelta) -> timedelta:
        return _at_least_a_second(value)

    @model_validator(mode="after")
    def _check(self) -> Any:
        one_of(self, "value", "value_file")
        only_with(self, "value_file", ("refresh",), holds=self.value_file is not None)
        check_place(self.in_, self.name, self.value, self.prefix)
        return self


def _at_least_a_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("it must be 1s at least")
    return value
