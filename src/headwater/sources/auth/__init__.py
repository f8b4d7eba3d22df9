"""Owns what is decided about credentials: token requests, what their answers mean, signatures, and where a token goes.

All of it is pure: the engine sends, waits, reads files and keeps.
"""
