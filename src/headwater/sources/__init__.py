"""Owns where exchanges come from. A source is pure: it builds requests, judges answers and returns records.

It never sleeps and never writes. The engine performs the request, appends the records with the next checkpoint, and
waits.
"""
