"""Owns the options of `tls:`: whom to trust, and who we are. The handshake is the fetch engine's."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from headwater.config.fields import FilePath, Hidden, Options, plain_text

_INSECURE = "insecure"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def _version(value: object) -> object:
    value = plain_text(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _verify(value: object) -> bool:
    value = plain_text(value)
    words: dict[object, bool] = {True: True, "true": True, _INSECURE: False}
    if value is False or value == "false":
        raise ValueError(
            "whoever is on the way could read and change everything; name the server's authority in `ca_file`, "
            "or write `verify: insecure` if that is meant"
        )
    if not isinstance(value, bool | str) or value not in words:
        raise ValueError("expected true or insecure")
    return words[value]


class TlsOptions(Options):
    """How an HTTPS server is trusted, and with which certificate we come to it."""

    ca_file: FilePath | None = Field(
        None, description="A file of the authorities to trust instead of the usual ones (PEM).", examples=["ca.pem"]
    )
    cert_file: FilePath | None = Field(
        None, description="A certificate of ours to show to servers (PEM, or PKCS #12).", examples=["client.pem"]
    )
    key_file: FilePath | None = Field(
        None, description="The key of `cert_file`, where that does not hold it.", examples=["client.key"]
    )
    key_password: Hidden | None = Field(
        None, description="The password of the key.", examples=["${{ secrets.KEY_PASSWORD }}"]
    )
    min_version: Annotated[Literal["1.0", "1.1", "1.2", "1.3"], BeforeValidator(_version)] = Field(
        "1.2", description="The oldest version of TLS to speak; those before 1.2 are broken.", examples=["1.3"]
    )
    verify: Annotated[bool, BeforeValidator(_verify), WithJsonSchema({"enum": [True, _INSECURE]})] = Field(
        True,
        description="Whether the server's certificate must be right: true, or `insecure`.",
        examples=[_INSECURE],
    )
    server_name: str | None = Field(
        None,
        min_length=1,
        description="The name to ask the server for (SNI), which its certificate must have, instead of the URL's.",
        examples=["api.internal"],
    )

    @field_validator("server_name", mode="before")
    @classmethod
    def _plain_name(cls, value: object) -> object:
        return plain_text(value)

    @field_validator("server_name")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no name of a host; write one such as api.internal")
        return value

    @model_validator(mode="after")
    def _check_key(self) -> Any:
        for name in ("key_file", "key_password"):
            if getattr(self, name) is not None and self.cert_file is None:
                raise ValueError(f"`{name}` is of no use without `cert_file`")
        return self
