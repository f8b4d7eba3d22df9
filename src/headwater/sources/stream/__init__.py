"""Owns cutting a stream - a response without an end - into frames as it arrives. Pure.

Every form has a framer with the same two verbs (`framer.Framer`). What becomes of a frame is said elsewhere.
"""
