"""Owns the options of `egress:`: where requests may go. What a policy refuses is `headwater.core.egress`'s."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from headwater.config.fields import Listed, Options
from headwater.core.egress import Policy, place


def _places(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        place(entry)
    return value


Places = Annotated[Listed, AfterValidator(_places)]


class EgressOptions(Options):
    """Where requests may go, redirects and templated hosts included; a server's own policy holds besides."""

    policy: Literal["public", "listed", "open"] = Field(
        "public",
        description="public: only to public addresses - not to this machine, private networks, metadata services - and "
        "to what `allow` names. listed: only to what `allow` names. open: anywhere.",
        examples=["listed"],
    )
    allow: Places = Field(
        (),
        description="Hosts (`api.example.com`, `*.example.com`), addresses and networks, each with `:PORT` or without; "
        "`unix:/PATH` for a unix socket.",
        examples=[["*.example.com", "10.1.0.0/16", "192.168.1.5:8080"]],
    )
    deny: Places = Field((), description="The same; what is denied wins.", examples=[["10.1.2.3"]])

    @model_validator(mode="after")
    def _check_allow(self) -> Any:
        if self.allow and self.policy == "open":
            raise ValueError("with `policy: open` there is nothing to allow; write public or listed")
        if not self.allow and self.policy == "listed":
            raise ValueError("with `policy: listed` and nothing in `allow`, no request could go anywhere")
        return self

    def made(self) -> Policy:
        """Return the policy that the options describe."""
        return Policy(self.policy, tuple(map(place, self.allow)), tuple(map(place, self.deny)))
