"""Owns what a browser sends beside what somebody asks for: headers that a connector has no use for. Pure."""

from __future__ import annotations

import re

from headwater.discover.asking import Ask

# Of any browser, or of the moment when it was copied.
_NOISE = re.compile(
    r"(?i)sec-.*|accept-encoding|accept-language|connection|keep-alive|pragma|cache-control|upgrade-insecure-requests|"
    r"priority|dnt|te|if-none-match|if-modified-since|content-length|host|transfer-encoding|:.*|x-client-data|"
    r"postman-token|x-requested-with|expect|proxy-connection|save-data|rtt|downlink|ect|device-memory|viewport-width"
)
_AGENT = re.compile(r"(?i)mozilla/|postmanruntime|insomnia|httpie|python-requests|okhttp|curl/")


def without_browser(ask: Ask) -> Ask:
    """Return what is asked for without the headers of a browser, and a note that they were left out."""
    copied = any(name.lower().startswith("sec-") for name, _ in ask.headers)
    kept = []
    dropped = []
    for name, value in ask.headers:
        lower = name.lower()
        page = copied and lower in {"origin", "referer"}
        if page or _NOISE.fullmatch(name) or (lower == "user-agent" and _AGENT.search(value)):
            dropped.append(name)
        elif lower == "accept" and value.strip() == "*/*":
            pass  # as a connector says by itself
        else:
            kept.append((name, value))
    ask = ask.replace(headers=tuple(kept))
    if not dropped:
        return ask
    names = ", ".join(dropped[:6]) + (f" and {len(dropped) - 6} more" if len(dropped) > 6 else "")
    return ask.noting(f"left out, as of a browser: {names}")
