"""Owns what people type and read. Every command is a thin edge over the layers below."""
