"""Measurements of Headwater beside their bounds. `make bench` runs them all; none of them is a test."""
