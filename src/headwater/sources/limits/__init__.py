"""Owns how many requests may go where, and when. Pure: times are parameters, and nothing waits or is stored here.

The engine's shares ask: a line lets requests through at a rate, quotas are what servers say is left, a breaker stops
what keeps failing, a budget counts, and a pace says how soon to look again.
"""
