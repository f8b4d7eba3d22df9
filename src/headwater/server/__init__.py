"""Owns the server: the embedded log over Fluvio's protocol, for any stock client."""
