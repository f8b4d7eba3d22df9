"""Owns the sample API of `headwater demo`: a small real server that answers like the page's cat facts."""

from headwater.sample.api import SampleApi

__all__ = ["SampleApi"]
