"""Owns the options of the kinds with a user and a password: basic and digest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from headwater.config.auth.parts import CONTROL
from headwater.config.fields import Hidden, Options, SecretText
from headwater.core.secret import Text


class BasicAuth(Options):
    """A user and a password in every request (RFC 7617)."""

    type: Literal["basic"] = Field(description="The kind: basic.", examples=["basic"])
    username: SecretText = Field(description="The user.", examples=["reader"])
    password: Hidden | None = Field(None, description="The password.", examples=["${{ secrets.PASSWORD }}"])

    @field_validator("username")
    @classmethod
    def _check_user(cls, value: Text) -> Text:
        if ":" in value.reveal():
            raise ValueError("it holds a colon, which ends the user in this kind (RFC 7617)")
        return value

    @field_validator("username", "password")
    @classmethod
    def _check_text(cls, value: Text | None) -> Text | None:
        return _plain(value)


class DigestAuth(Options):
    """A user and a password that are proved without being sent, MD5 or SHA-256 as the server says (RFC 7616)."""

    type: Literal["digest"] = Field(description="The kind: digest.", examples=["digest"])
    username: SecretText = Field(description="The user.", examples=["reader"])
    password: Hidden | None = Field(None, description="The password.", examples=["${{ secrets.PASSWORD }}"])

    @field_validator("username", "password")
    @classmethod
    def _check_text(cls, value: Text | None) -> Text | None:
        return _plain(value)


def _plain(value: Text | None) -> Text | None:
    if value is not None and CONTROL.search(value.reveal()):
        raise ValueError("it holds a line break or another control character")
    return value
