"""Owns the version number, and nothing else: importing it must cost nothing."""

__version__ = "0.1.0"
