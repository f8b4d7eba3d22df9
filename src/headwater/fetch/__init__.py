"""Owns the fetch engine: exchanges over libcurl, bounded in size and time, with one error type for each failure."""

from headwater.fetch.curl import CurlFetcher

__all__ = ["CurlFetcher"]
