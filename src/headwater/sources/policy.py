"""Owns what a configuration says about judging, as the judge wants it. Judges nothing."""

from __future__ import annotations

from headwater.config import HttpOptions
from headwater.sources.auth.standing import renewable
from headwater.sources.judge import Policy
from headwater.sources.limits.headers import quota_names
from headwater.sources.rules import Rules


def policy_of(options: HttpOptions) -> Policy:
    """Return how the answers to the options' requests are judged."""
    limits = options.limits
    return Policy(
        method=options.method,
        accepted=options.accept_status,
        content_types=options.accept_content_type,
        attempts=options.retry.attempts,
        initial=options.retry.initial.total_seconds(),
        longest=options.retry.max.total_seconds(),
        retry_after_longest=options.retry.retry_after_max.total_seconds(),
        body_only=options.output_parts == "body",
        renewable=renewable(options.auth),
        rules=Rules(options.rules) if options.rules else None,
        quota=limits is None or limits.quota == "auto",
        names=None if limits is None else quota_names(limits.quota_headers),
    )
