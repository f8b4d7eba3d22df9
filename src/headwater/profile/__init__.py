"""Owns profiles: Fluvio's own file of them, which one a command means, and what one says of TLS."""
