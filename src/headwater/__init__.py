"""Headwater: any HTTP API becomes a durable stream of records."""
