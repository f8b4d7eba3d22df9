"""Owns managed connectors on one machine: what is kept of them, who keeps them running, and the API to it all."""
