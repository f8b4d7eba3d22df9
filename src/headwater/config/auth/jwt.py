"""Owns the options of tokens that are signed here and sent as they are: JWTs (RFC 7519)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from headwater.config.auth.parts import HeaderName, Prefix
from headwater.config.auth.signing import Algorithm, check_key, claims, claims_of_requests
from headwater.config.fields import Duration, FilePath, Hidden, Options, SecretText
from headwater.config.parts import texts_of

Claims = Annotated[dict[str, Any], BeforeValidator(claims), WithJsonSchema({"type": "object"})]
ClaimsOfRequests = Annotated[dict[str, Any], BeforeValidator(claims_of_requests), WithJsonSchema({"type": "object"})]


class JwtAuth(Options):
    """A token that is signed here (RFC 7519), sent as a bearer. `iat` and `exp` are put in by themselves."""

    type: Literal["jwt"] = Field(description="The kind: jwt.", examples=["jwt"])
    algorithm: Algorithm = Field("HS256", description="How it is signed.", examples=["ES256"])
    key: Hidden | None = Field(
        None, description="The shared secret, or the private key in PEM.", examples=["${{ secrets.SIGNING_KEY }}"]
    )
    key_file: FilePath | None = Field(None, description="A file that holds it.", examples=["/run/secrets/key.pem"])
    key_password: Hidden | None = Field(
        None, description="The password of an encrypted PEM.", examples=["${{ secrets.KEY_PASSWORD }}"]
    )
    key_base64: bool = Field(False, description="The shared secret is written in base64.", examples=[True])
    key_id: SecretText | None = Field(None, description="The header `kid`.", examples=["2X9R4HXF34"])
    issuer: SecretText | None = Field(None, description="The claim `iss`.", examples=["57246542-96fe-1a63-e053"])
    subject: SecretText | None = Field(None, description="The claim `sub`.", examples=["reader@example.com"])
    audience: SecretText | None = Field(None, description="The claim `aud`.", examples=["appstoreconnect-v1"])
    claims: ClaimsOfRequests = Field(
        {},
        description="Further claims. `iat` or `exp` that is null is left out; `jti: auto` is another each time. Texts "
        "may hold `${{ request.method }}`, `.url`, `.host` and `.path`: then each request has a token of its own.",
        examples=[{"scope": ["read"], "jti": "auto"}],
    )
    lifetime: Duration = Field(
        timedelta(minutes=5), description="How long a token is good for; a new one is signed before.", examples=["20m"]
    )
    header: HeaderName = Field("Authorization", description="The header that it goes into.", examples=["X-Token"])
    prefix: Prefix = Field("Bearer", description="What stands before it; empty for nothing.", examples=["JWT"])

    @property
    def of_requests(self) -> bool:
        """Whether each request has a token of its own, which says something of it."""
        return any(text.spans for _, text in texts_of(self.claims, ()))

    @field_validator("lifetime")
    @classmethod
    def _check_lifetime(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=10):
            raise ValueError("it must be 10s at least: clocks differ")
        return value

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.key_base64 and not self.algorithm.startswith("HS"):
            raise ValueError("key_base64 goes only with the shared secrets of HS256, HS384 and HS512")
        if self.key_password is not None and self.algorithm.startswith("HS"):
            raise ValueError("key_password goes only with a private key in PEM")
        check_key(self, self.algorithm)
        return self
