"""Owns cutting the body of an answer into items, whole or while it arrives, in flat memory. Pure.

Every format has a splitter with the same three verbs (`item.Splitter`). What becomes of an item is `sources.items`'.
"""
