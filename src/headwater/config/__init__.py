"""Owns configuration: connect.yml of both dialects, flags and overrides become one typed, frozen model."""

from headwater.config.collection import forgetful, partial
from headwater.config.definition import Defined, define_files, define_text, load_definition
from headwater.config.fields import Options, groups_of, holds_many, is_switch, word_of
from headwater.config.http import HttpOptions
from headwater.config.load import ENDINGS, Loaded, from_options, load_files, load_text, load_transforms
from headwater.config.model import CHAIN_OPTIONS, ChainLink, ConnectorConfig, TopicOptions, TransformOptions
from headwater.config.problem import InvalidConfigError, Problem
from headwater.config.records import RecordsOptions
from headwater.config.schema import json_schema
from headwater.config.secrets import SecretSource, secret_source
from headwater.config.transport import doubts, local_paths, transport_of

__all__ = [
    "CHAIN_OPTIONS",
    "ENDINGS",
    "ChainLink",
    "ConnectorConfig",
    "Defined",
    "HttpOptions",
    "InvalidConfigError",
    "Loaded",
    "Options",
    "Problem",
    "RecordsOptions",
    "SecretSource",
    "TopicOptions",
    "TransformOptions",
    "define_files",
    "define_text",
    "doubts",
    "forgetful",
    "from_options",
    "groups_of",
    "holds_many",
    "is_switch",
    "json_schema",
    "load_definition",
    "load_files",
    "load_text",
    "load_transforms",
    "local_paths",
    "partial",
    "secret_source",
    "transport_of",
    "word_of",
]
