"""Owns the options of AWS Signature Version 4, which libcurl carries out."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headwater.config.auth.parts import Word, no_control, only_with
from headwater.config.fields import Hidden, Options, SecretText
from headwater.core.secret import Text

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class SigV4Auth(Options):
    """Requests signed with the keys of an AWS account, or of what is compatible with it."""

    type: Literal["sigv4"] = Field(description="The kind: sigv4.", examples=["sigv4"])
    access_key: SecretText | None = Field(None, description="The access key's id.", examples=["AKIDEXAMPLE"])
    secret_key: Hidden | None = Field(
        None, description="The secret access key.", examples=["${{ secrets.AWS_SECRET_ACCESS_KEY }}"]
    )
    session_token: Hidden | None = Field(
        None, description="The session token of temporary keys.", examples=["${{ secrets.AWS_SESSION_TOKEN }}"]
    )
    environment: bool = Field(
        False,
        description="Take the keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and a region "
        "that is not given from AWS_REGION or AWS_DEFAULT_REGION.",
        examples=[True],
    )
    region: Word | None = Field(None, description="The region.", examples=["eu-central-1"])
    service: Word = Field(description="The service, as it is called in signatures.", examples=["execute-api"])

    @field_validator("region", "service")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no name of a region or service, such as eu-central-1 or execute-api")
        return value

    @field_validator("access_key", "secret_key", "session_token")
    @classmethod
    def _check_key(cls, value: Text | None) -> Text | None:
        if value is not None and not value.reveal():
            raise ValueError("it must not be empty")
        return no_control(value)

    @model_validator(mode="after")
    def _check(self) -> Any:
        only_with(self, "environment: false", ("access_key", "secret_key", "session_token"), holds=not self.environment)
        if not self.environment:
            missing = [name for name in ("access_key", "secret_key", "region") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"it needs {' and '.join(missing)}, or environment: true")
            assert self.access_key is not None
            if ":" in self.access_key.reveal():
                raise ValueError("the access key holds a colon; it is the id, not the secret key")
        return self
