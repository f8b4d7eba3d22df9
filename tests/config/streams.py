"""Beginnings of configurations that are streams, for tests."""

from __future__ import annotations

HEAD = "apiVersion: 0.1.0\nmeta: {name: a, topic: b}\nhttp:\n"
POLL = f"{HEAD}  endpoint: https://x.test/s\n"
STREAM = f"{POLL}  stream: true\n"
SSE = f"{POLL}  format: sse\n"
SOCKET = f"{HEAD}  endpoint: wss://x.test/s\n"
PAGE = "name: a\ntype: http\ntopic: b\nparameters:\n"
