"""Owns the options of Negotiate: Kerberos over SPNEGO (RFC 4559), which libcurl carries out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from headwater.config.auth.parts import Word
from headwater.config.fields import FilePath, Options


class NegotiateAuth(Options):
    """A Kerberos ticket for the endpoint's host. The library has one cache and one keytab for a whole process."""

    type: Literal["negotiate"] = Field(description="The kind: negotiate.", examples=["negotiate"])
    ccache: Word | None = Field(
        None,
        min_length=1,
        description="The cache of tickets, as kinit writes it. Default: KRB5CCNAME, else the library's own.",
        examples=["FILE:/tmp/krb5cc_1000"],
    )
    keytab: FilePath | None = Field(
        None,
        description="The keytab by which tickets are got, of its first principal. Default: KRB5_CLIENT_KTNAME.",
        examples=["/etc/headwater/client.keytab"],
    )
    config_file: FilePath | None = Field(
        None, description="The krb5.conf. Default: KRB5_CONFIG, else /etc/krb5.conf.", examples=["/etc/krb5.conf"]
    )

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.ccache is not None and self.ccache.startswith("KEYRING:"):
            raise ValueError("the library that comes with libcurl knows no keyrings; use FILE:, DIR: or MEMORY:")
        return self
