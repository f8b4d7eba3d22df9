"""Owns the fetch engine: exchanges over libcurl, bounded in size and time, with one error type for each failure."""

from headwater.fetch.curl import CurlFetcher
from headwater.fetch.limits import raise_file_limit

__all__ = ["CurlFetcher", "raise_file_limit"]
