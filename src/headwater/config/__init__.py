"""Owns configuration: connect.yml of both dialects, flags and overrides become one typed, frozen model."""

from headwater.config.http import HttpOptions, Options
from headwater.config.load import Loaded, from_options, load_files, load_text
from headwater.config.model import ConnectorConfig
from headwater.config.problem import InvalidConfigError, Problem
from headwater.config.schema import json_schema
from headwater.config.secrets import SecretSource, secret_source

__all__ = [
    "ConnectorConfig",
    "HttpOptions",
    "InvalidConfigError",
    "Loaded",
    "Options",
    "Problem",
    "SecretSource",
    "from_options",
    "json_schema",
    "load_files",
    "load_text",
    "secret_source",
]
