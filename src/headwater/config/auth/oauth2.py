"""Owns the options of OAuth 2: which grant, at which endpoint, by which client (RFC 6749, 7521, 7523)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from headwater.config.auth.jwt import Claims
from headwater.config.auth.parts import CONTROL, HeaderName, Prefix, Url, filled, one_of, only_with
from headwater.config.auth.signing import Algorithm, check_key
from headwater.config.fields import Duration, FilePath, Hidden, Options, Pairs, SecretText, plain_text
from headwater.core.secret import Text

# What a token request says by itself.
_OWN = ("grant_type", "client_assertion", "client_assertion_type", "assertion", "refresh_token")
_SIGNING = ("algorithm", "key", "key_file", "key_password", "key_id")


def _scope(value: object) -> tuple[str, ...]:
    value = plain_text(value)
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        raise ValueError("expected scopes: a list, or a text with blanks between them")
    scopes = tuple(str(plain_text(word)) for word in words)
    for word in scopes:
        if not word or CONTROL.search(word) or any(sign in word for sign in ' "\\'):
            raise ValueError(f"{word!r} is no scope (RFC 6749, section 3.3)")
    return scopes


class OAuth2Auth(Options):
    """An access token from a token endpoint (RFC 6749), got before the first request and renewed in time."""

    type: Literal["oauth2"] = Field(description="The kind: oauth2.", examples=["oauth2"])
    grant: Literal["client-credentials", "refresh-token", "password", "jwt-bearer"] = Field(
        "client-credentials", description="What the token is given for.", examples=["refresh-token"]
    )
    token_url: Url = Field(description="The token endpoint.", examples=["https://login.example.com/oauth2/token"])
    client_id: SecretText | None = Field(None, description="The client.", examples=["headwater"])
    client_secret: Hidden | None = Field(
        None, description="The client's secret.", examples=["${{ secrets.CLIENT_SECRET }}"]
    )
    client_auth: Literal["basic", "body", "private-key-jwt"] | None = Field(
        None,
        description="How the client shows who it is: HTTP Basic, in the body, or by a JWT that it signs (RFC 7523). "
        "Default: basic with a secret; without one only its id is sent.",
        examples=["body"],
    )
    scope: Annotated[
        tuple[str, ...],
        BeforeValidator(_scope),
        WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    ] = Field((), description="What is asked for: a list, or a text with blanks.", examples=["orders.read"])
    audience: SecretText | None = Field(
        None, description="The parameter `audience`.", examples=["https://api.example.com"]
    )
    params: Pairs = Field(
        (), description="Further parameters of the token request.", examples=[{"resource": "https://api.example.com"}]
    )
    headers: Pairs = Field((), description="Further headers of the token request.", examples=[{"X-Tenant": "acme"}])
    refresh_token: Hidden | None = Field(
        None,
        description="The first refresh token of grant: refresh-token. Those that replace it are kept with the log.",
        examples=["${{ secrets.REFRESH_TOKEN }}"],
    )
    username: SecretText | None = Field(None, description="The user of grant: password.", examples=["reader"])
    password: Hidden | None = Field(
        None, description="The password of grant: password.", examples=["${{ secrets.PASSWORD }}"]
    )
    assertion_file: FilePath | None = Field(
        None,
        description="A file with a JWT that somebody else signs, of grant: jwt-bearer, or of client_auth: "
        "private-key-jwt. It is read for each token request.",
        examples=["/var/run/secrets/tokens/identity"],
    )
    algorithm: Algorithm = Field("RS256", description="How a JWT is signed.", examples=["ES256"])
    key: Hidden | None = Field(
        None, description="The private key in PEM that signs it.", examples=["${{ secrets.SIGNING_KEY }}"]
    )
    key_file: FilePath | None = Field(None, description="A file that holds the key.", examples=["/run/secrets/key.pem"])
    key_password: Hidden | None = Field(
        None, description="The password of an encrypted PEM.", examples=["${{ secrets.KEY_PASSWORD }}"]
    )
    key_id: SecretText | None = Field(None, description="The header `kid` of the JWT.", examples=["2X9R4HXF34"])
    issuer: SecretText | None = Field(
        None,
        description="The claim `iss` of grant: jwt-bearer. Default: client_id.",
        examples=["robot@project.example"],
    )
    subject: SecretText | None = Field(
        None, description="The claim `sub` of grant: jwt-bearer. Default: the issuer.", examples=["user@example.com"]
    )
    assertion_audience: SecretText | None = Field(
        None, description="The claim `aud` of the JWT. Default: token_url.", examples=["https://login.example.com"]
    )
    claims: Claims = Field({}, description="Further claims of the JWT.", examples=[{"scope": "read"}])
    assertion_lifetime: Duration = Field(
        timedelta(minutes=5), description="How long the JWT is good for.", examples=["1m"]
    )
    margin: Duration = Field(
        timedelta(minutes=1),
        description="How long before its end a token is renewed; at most half of its life.",
        examples=["5m"],
    )
    lifetime: Duration | None = Field(
        None,
        description="How long a token is used whose answer does not say. Default: until the API refuses it.",
        examples=["30m"],
    )
    header: HeaderName = Field(
        "Authorization", description="The header that the token goes into.", examples=["X-Token"]
    )
    prefix: Prefix = Field("Bearer", description="What stands before it; empty for nothing.", examples=["OAuth"])

    @field_validator("params")
    @classmethod
    def _check_params(cls, value: tuple[tuple[str, Text], ...]) -> tuple[tuple[str, Text], ...]:
        for name, _ in value:
            if name in _OWN or name in {"client_id", "client_secret", "scope", "audience", "username", "password"}:
                raise ValueError(f"{name} is said by the options beside it")
        return value

    @field_validator("client_id", "client_secret", "refresh_token")
    @classmethod
    def _check_filled(cls, value: Text | None) -> Text | None:
        return filled(value)

    @field_validator("assertion_lifetime")
    @classmethod
    def _check_lifetime(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=10) <= value <= timedelta(hours=1):
            raise ValueError("it must be between 10s and 1h")
        return value

    @model_validator(mode="after")
    def _check(self) -> Any:
        only_with(self, "grant: refresh-token", ("refresh_token",), holds=self.grant == "refresh-token")
        only_with(self, "grant: password", ("username", "password"), holds=self.grant == "password")
        only_with(self, "grant: jwt-bearer", ("issuer", "subject"), holds=self.grant == "jwt-bearer")
        self._check_client()
        self._check_grant()
        return self

    @property
    def signs(self) -> bool:
        """Whether a JWT is part of a token request."""
        return self.grant == "jwt-bearer" or self.client_auth == "private-key-jwt"

    def _check_client(self) -> None:
        if self.client_id is None and (self.client_secret is not None or self.client_auth is not None):
            raise ValueError("it needs client_id, for there is a secret or client_auth")
        if self.client_secret is None and self.client_auth in {"basic", "body"}:
            raise ValueError(f"client_auth: {self.client_auth} needs client_secret")
        if self.client_secret is not None and self.client_auth == "private-key-jwt":
            raise ValueError("client_auth: private-key-jwt signs with a key; leave client_secret out")
        what = "grant: jwt-bearer or client_auth: private-key-jwt"
        names = (*_SIGNING, "assertion_file", "assertion_audience", "assertion_lifetime", "claims")
        only_with(self, what, names, holds=self.signs)

    def _check_grant(self) -> None:
        if self.grant == "client-credentials" and self.client_id is None:
            raise ValueError("grant: client-credentials needs client_id")
        if self.grant == "refresh-token" and (self.refresh_token is None or not self.refresh_token.reveal()):
            raise ValueError("grant: refresh-token needs refresh_token, the first one")
        if self.grant == "password" and (self.username is None or self.password is None):
            raise ValueError("grant: password needs username and password")
        if not self.signs:
            return
        if self.assertion_file is not None:
            one_of(self, "assertion_file", "key", "key_file")
            only_with(self, "a key", ("algorithm", "key_id", "claims", "issuer", "subject"), holds=False)
        else:
            one_of(self, "key", "key_file", "assertion_file")
            check_key(self, self.algorithm)
            if self.algorithm.startswith("HS"):
                raise ValueError(f"{self.algorithm} shares its key with the server; sign with RS256, PS256 or ES256")
            if self.grant == "jwt-bearer" and self.issuer is None and self.client_id is None:
                raise ValueError("grant: jwt-bearer needs issuer or client_id")
