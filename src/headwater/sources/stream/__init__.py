"""Owns what streams bring: what a connection asks for, frames cut out of what comes, and records made of them. Pure.

Every form has a framer with the same two verbs (`framer.Framer`). Waiting, storing, connecting again is the engine's.
"""
