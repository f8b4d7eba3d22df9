"""Owns recordings of what a connector has sent and got: as values, as files that people read, and what is made of them.

Pure: whoever records or replays one does that elsewhere.
"""
