"""Owns streams at work: connections one after the other, what comes over them stored group by group, the gaps between.

What a stream asks for and what its bytes mean is the source's.
"""
