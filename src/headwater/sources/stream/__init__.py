"""Owns what streams bring: requests for a connection, frames cut out of what comes over it, records made of them. Pure.

Every format has a framer with the same two verbs (`framer.Framer`). Waiting, storing and connecting again is the engine's.
"""
