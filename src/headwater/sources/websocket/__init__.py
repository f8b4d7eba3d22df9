"""Owns a client's side of the WebSocket protocol (RFC 6455, RFC 7692), pure: bytes in, messages and bytes out.

Who carries the bytes, keeps time and reconnects is the engine's. `handshake` asks and judges the answer, `session` is
one connection, `life` says when to ping, `talk` which messages are records.
"""
