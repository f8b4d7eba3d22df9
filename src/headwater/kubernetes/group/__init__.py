"""Owns groups: many connectors in few pods, each worked on by exactly one of them."""
