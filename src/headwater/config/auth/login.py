"""Owns the options of a login: a request whose answer gives what all others carry."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headwater.config.auth.parts import HeaderName, Prefix, Url, Word, check_place, only_with
from headwater.config.fields import (
    Body,
    Duration,
    Hidden,
    Options,
    Pairs,
    PointerOption,
    SecretText,
    plain_text,
    without_expressions,
)
from headwater.config.parts import texts_of
from headwater.core.secret import Text


def _upper(value: object) -> object:
    value = plain_text(value)
    return value.upper() if isinstance(value, str) else value


Method = Annotated[Literal["GET", "POST", "PUT", "DELETE"], BeforeValidator(_upper)]


class LoginAuth(Options):
    """A first request that logs in; its answer gives a token, or cookies, that all others carry."""

    type: Literal["login"] = Field(description="The kind: login.", examples=["login"])
    endpoint: Url = Field(description="The URL that logs in.", examples=["https://api.example.com/session"])
    method: Method = Field("POST", description="The method of the login.", examples=["PUT"])
    headers: Pairs = Field((), description="Headers of the login.", examples=[{"X-Tenant": "acme"}])
    body: Body = Field(
        None,
        description="Its body: a text, or a map or list that is sent as JSON.",
        examples=[{"user": "reader", "password": "${{ secrets.PASSWORD }}"}],
    )
    form: Pairs = Field((), description="Its body as a form instead.", examples=[{"user": "reader"}])
    username: SecretText | None = Field(None, description="The user, in HTTP Basic.", examples=["reader"])
    password: Hidden | None = Field(
        None, description="The password, in HTTP Basic.", examples=["${{ secrets.PASSWORD }}"]
    )
    token: PointerOption | None = Field(None, description="Where the answer has the token.", examples=["/data/token"])
    token_header: HeaderName | None = Field(
        None, description="Which header of the answer has the token.", examples=["X-Subject-Token"]
    )
    cookies: bool = Field(False, description="The cookies of the answer are sent back.", examples=[True])
    in_: Literal["header", "cookie", "query"] = Field(
        "header", validation_alias="in", description="Where the token goes.", examples=["header"]
    )
    name: Word = Field(
        "Authorization",
        min_length=1,
        description="The name of the header, cookie or parameter that it goes into.",
        examples=["X-Auth-Token"],
    )
    prefix: Prefix | None = Field(
        None,
        description="What stands before it. Default: Bearer in Authorization, else nothing.",
        examples=["Token"],
    )
    lifetime: Duration | None = Field(
        None, description="How long a login lasts. Default: until the API refuses it.", examples=["20m"]
    )
    expires: PointerOption | None = Field(
        None,
        description="Where the answer says how long: seconds, a Unix time, or a date.",
        examples=["/expires_in"],
    )
    margin: Duration = Field(
        timedelta(seconds=30),
        description="How long before its end a login is done again; at most half of its life.",
        examples=["1m"],
    )
    logout: Url | None = Field(
        None,
        description="A URL that logs out, asked when the connectors stop.",
        examples=["https://api.example.com/logout"],
    )
    logout_method: Method = Field("POST", description="The method of the logout.", examples=["DELETE"])

    @field_validator("body")
    @classmethod
    def _check_body(cls, value: Any) -> Any:
        for _, text in texts_of(value, ()):
            without_expressions(text)
        return value

    @field_validator("username")
    @classmethod
    def _check_user(cls, value: Text | None) -> Text | None:
        if value is not None and ":" in value.reveal():
            raise ValueError("it holds a colon, which ends the user in HTTP Basic (RFC 7617)")
        return value

    @property
    def before(self) -> str:
        """What stands before the token."""
        if self.prefix is not None:
            return self.prefix
        return "Bearer" if self.in_ == "header" and self.name.lower() == "authorization" else ""

    @model_validator(mode="after")
    def _check(self) -> Any:
        ways = [name for name in ("token", "token_header") if getattr(self, name) is not None]
        ways += ["cookies"] if self.cookies else []
        if len(ways) != 1:
            said = f"{' and '.join(ways)} are" if ways else "none of them is"
            raise ValueError(f"it needs one of token, token_header or cookies: true; {said} given")
        only_with(self, "token or token_header", ("in_", "name", "prefix"), holds=not self.cookies)
        if self.body is not None and self.form:
            raise ValueError("body and form are both given; one of them is sent")
        if self.method == "GET" and (self.body is not None or self.form):
            raise ValueError("a GET has no body; write method: POST")
        only_with(self, "username", ("password",), holds=self.username is not None)
        only_with(self, "logout", ("logout_method",), holds=self.logout is not None)
        if not self.cookies:
            if self.in_ != "header" and self.name == "Authorization":
                raise ValueError(f"in: {self.in_} needs a name")
            check_place(self.in_, self.name, None, self.before)
        return self
