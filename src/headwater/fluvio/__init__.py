"""Owns Fluvio's formats: numbers, batches, compression. Pure; nothing here opens a socket or a file."""
