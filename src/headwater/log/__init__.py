"""Owns the embedded log: topics, records, checkpoints and the ledger in one SQLite file, with one writer."""

from headwater.core.topic import Offset, Receipt, TopicSpec
from headwater.fluvio.batch import StoredBatch
from headwater.log.log import Log
from headwater.log.memory import Memories, Recollection
from headwater.log.reader import LogReader
from headwater.log.schema import FILE_NAME
from headwater.log.topic import Topic
from headwater.log.values import Append, Beside, ConsumerOffset, TopicInfo

__all__ = [
    "FILE_NAME",
    "Append",
    "Beside",
    "ConsumerOffset",
    "Log",
    "LogReader",
    "Memories",
    "Offset",
    "Receipt",
    "Recollection",
    "StoredBatch",
    "Topic",
    "TopicInfo",
    "TopicSpec",
]
