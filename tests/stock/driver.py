"""Runs one stock Fluvio client for a test: reads a JSON command a line, writes JSON answers a line.

It runs in the client's own environment, so it imports the standard library and `fluvio` only. Starting it, and the
limits of time, are `client`'s: the stock client holds the interpreter's lock while it waits, so nothing here can.

An answer is {"result": ...}, {"error": text} or {"unsupported": what the version lacks}; a command that streams writes
{"item": ...} before. Bytes travel as latin-1. One driver adapts to all versions by what they have.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

fluvio: Any = importlib.import_module("fluvio")
native: Any = importlib.import_module("fluvio._fluvio_python")


class Unsupported(Exception):  # noqa: N818 - an answer, not a failure
    """The installed version has no such thing."""


def _need(owner: Any, name: str) -> Any:
    """Return an attribute, or say that this version has none."""
    found = getattr(owner, name, None)
    if found is None:
        raise Unsupported(f"no {getattr(owner, '__name__', type(owner).__name__)}.{name}")
    return found


def _refuse(**options: Any) -> None:
    """Say that this version has none of the options that are given."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise Unsupported(f"no {', '.join(given)}")


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("latin-1")


def _record(record: Any) -> dict[str, Any]:
    key: bytes | None = bytes(record.key())
    if key == b"No key" and not record.key_string():
        key = None  # how the client says it
    return {
        "offset": record.offset(),
        "key": None if key is None else key.decode("latin-1"),
        "value": bytes(record.value()).decode("latin-1"),
        "timestamp": record.timestamp(),
    }


def _offset(given: list[Any] | str) -> Any:
    """Make an offset of "beginning", "end", or a kind with its number: ["absolute", 5]."""
    kind, *number = [given] if isinstance(given, str) else given
    return getattr(fluvio.Offset, kind)(*number)


def _emit(**answer: Any) -> None:
    OUT.write(json.dumps(answer) + "\n")
    OUT.flush()


class Driver:
    """One connection of a stock client, and what was opened on it. Its public methods are the commands."""

    def __init__(self) -> None:
        self._config: Any = None
        self._open: Any = None
        self._open_admin: Any = None
        self._producers: dict[str, Any] = {}
        self._streams: dict[str, Iterator[Any]] = {}

    # Connecting

    def about(self) -> dict[str, Any]:
        """Tell what the installed version has."""
        return {
            "python": sys.version.split()[0],
            "has": sorted(name for name in dir(native) if not name.startswith("_")),
            "methods": {
                name: sorted(method for method in dir(getattr(native, name)) if not method.startswith("_"))
                for name in ("Fluvio", "FluvioAdmin", "FluvioConfig", "TopicProducer", "PartitionConsumerStream")
                if hasattr(native, name)
            },
        }

    def connect(
        self,
        endpoint: str | None = None,
        profile: str | None = None,
        tls: dict[str, str] | None = None,
        client_id: str | None = None,
        *,
        use_spu_local_address: bool | None = None,
    ) -> str:
        """Connect to an endpoint, or as a configuration file says (its path, or "home" for ~/.fluvio/config).

        `tls` is {"kind": "anonymous"}, {"kind": "files" | "inline", "domain", "key", "cert", "ca_cert"}.
        """
        if profile is not None:
            _refuse(tls=tls, client_id=client_id, use_spu_local_address=use_spu_local_address)
            if profile != "home":
                os.environ["FLV_PROFILE_PATH"] = profile
        elif not hasattr(fluvio, "FluvioConfig"):
            _refuse(tls=tls, client_id=client_id, use_spu_local_address=use_spu_local_address)
            self._write_profile(str(endpoint))
        else:
            self._config = config = fluvio.FluvioConfig.new(endpoint)
            if client_id is not None:
                config.set_client_id(client_id)
            if use_spu_local_address is not None:
                config.set_use_spu_local_address(use_spu_local_address)
            if tls is not None and tls["kind"] == "anonymous":
                config.set_anonymous_tls()
            elif tls is not None:
                put = config.set_inline_tls if tls["kind"] == "inline" else config.set_tls_file_paths
                put(tls["domain"], tls["key"], tls["cert"], tls["ca_cert"])
        self._open = None
        self._open_admin = None
        self._producers.clear()
        self._fluvio()
        return "connected"

    def _write_profile(self, endpoint: str) -> None:
        path = Path(tempfile.mkdtemp()) / "config"
        path.write_text(
            f'version = "2.0"\ncurrent_profile = "test"\n[profile.test]\ncluster = "test"\n'
            f'[cluster.test]\nendpoint = "{endpoint}"\n[cluster.test.tls]\ntls_policy = "disabled"\n'
        )
        os.environ["FLV_PROFILE_PATH"] = str(path)

    def _connected(self, kind: Any) -> Any:
        return kind.connect() if self._config is None else kind.connect_with_config(self._config)

    def _fluvio(self) -> Any:
        if self._open is None:
            self._open = self._connected(fluvio.Fluvio)
        return self._open

    def _admin(self) -> Any:
        if self._open_admin is None:
            self._open_admin = self._connected(_need(fluvio, "FluvioAdmin"))
        return self._open_admin

    # Topics, partitions, SmartModules

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication: int = 1,
        assignment: list[tuple[int, list[int]]] | None = None,
        *,
        ignore_rack: bool = True,
        dry_run: bool = False,
        default: bool = False,
        **options: Any,
    ) -> None:
        """Create a topic; `default` leaves the spec to the client.

        Options: retention_time, segment_size, max_partition_size, system, mirror, compression.
        """
        admin = self._admin()
        if default:
            admin.create_topic(name)
            return
        if assignment is not None:
            maps = [native.PartitionMap.new(partition, replicas) for partition, replicas in assignment]
            spec = native.TopicSpec.new_assigned(maps)  # with_assignment() passes objects that it then refuses
        elif hasattr(fluvio.TopicSpec, "create"):
            builder = fluvio.TopicSpec.create().with_partitions(partitions).with_replications(replication)
            spec = self._spec(builder.with_ignore_rack(ignore_rack), options)
        else:
            _refuse(**options)
            spec = native.TopicSpec.new_computed(partitions, replication, ignore_rack)
        admin._inner.create_topic(name, dry_run, spec)  # the wrapper cannot say dry_run

    @staticmethod
    def _spec(builder: Any, options: dict[str, Any]) -> Any:
        compression = options.pop("compression", None)
        if options.pop("mirror", None):
            builder = builder.as_mirror_topic()
        if "system" in options:
            builder = builder.as_system_topic(options.pop("system"))
        for option, value in options.items():
            builder = getattr(builder, f"with_{option}")(value)
        spec = builder.build()
        if compression is not None:  # with_compression() passes a string where newer versions want their own type
            kinds = getattr(native, "Compression", None)
            wanted = "None_" if compression == "none" else compression.capitalize()
            if kinds is not None and not hasattr(kinds, wanted):
                raise Unsupported(f"no compression {compression} of topics")
            spec.set_compression_type(compression if kinds is None else getattr(kinds, wanted))
        return spec

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        self._admin().delete_topic(name)

    def list_topics(self, filters: list[str] | None = None, *, summary: bool | None = None) -> list[str]:
        """List the names of topics."""
        admin = self._admin()
        if summary is not None:
            found = admin.list_topics_with_params(filters or [], summary)
        else:
            found = admin.all_topics() if filters is None else admin.list_topics(filters)
        return [topic.name() for topic in found]

    def list_partitions(self, filters: list[str] | None = None) -> list[str]:
        """List the names of partitions."""
        return [partition.name() for partition in self._admin().list_partitions(filters or [])]

    def watch(self, kind: str = "topic", count: int | None = None) -> int:
        """Stream the updates of topics or SmartModules: {"epoch", "all": names, "updated": names, "deleted": names}."""
        updates = self._admin().watch_topic() if kind == "topic" else self._admin().watch_smartmodule()
        spec = "metadata_topic_spec" if kind == "topic" else "metadata_smart_module_spec"
        seen = 0
        for update in islice(updates, count):
            changes = update.changes()
            _emit(
                item={
                    "epoch": update.epoch(),
                    "all": [one.name() for one in update.all()],
                    "updated": [getattr(one, spec)().name() for one in changes if one.is_update()],
                    "deleted": [getattr(one, spec)().name() for one in changes if one.is_delete()],
                }
            )
            seen += 1
        return seen

    def create_smartmodule(self, name: str, path: str, *, dry_run: bool = False) -> None:
        """Load a SmartModule from a file into the cluster."""
        self._admin().create_smartmodule(name, path, dry_run)

    def delete_smartmodule(self, name: str) -> None:
        """Delete a SmartModule."""
        self._admin().delete_smartmodule(name)

    def list_smartmodules(self, filters: list[str] | None = None) -> list[str]:
        """List the names of SmartModules."""
        return [module.name() for module in self._admin().list_smartmodules(filters or [])]

    # Producing

    def _producer(self, topic: str, config: dict[str, Any] | None) -> Any:
        """Return the producer with a configuration, the same one for the same configuration.

        Keys are those of the builder: batch_size, linger, compression, partition, isolation, delivery, ...
        """
        name = json.dumps([topic, config], sort_keys=True)
        if name not in self._producers:
            self._producers[name] = self._new_producer(topic, config)
        return self._producers[name]

    def _new_producer(self, topic: str, config: dict[str, Any] | None) -> Any:
        if not config:
            return self._fluvio().topic_producer(topic)
        builder = _need(fluvio, "TopicProducerConfigBuilder")()
        enums = {"compression": "Compression", "isolation": "Isolation", "delivery_semantic": "DeliverySemantic"}
        for key, value in config.items():
            method = "set_specific_partitioner" if key == "partition" else key
            builder = getattr(builder, method)(getattr(getattr(fluvio, enums[key]), value) if key in enums else value)
        return self._fluvio().topic_producer_with_config(topic, builder.build())

    def produce(
        self,
        topic: str,
        records: list[tuple[str | None, str]],
        config: dict[str, Any] | None = None,
        method: str = "send",
        *,
        flush: bool = True,
        wait: bool = True,
    ) -> list[dict[str, int]] | None:
        """Send records by "send", "send_all" or "send_string"; return where each is, or nothing without `wait`.

        The oldest version gives no outputs: nothing then, too.
        """
        producer = self._producer(topic, config)
        if method == "send_all":
            outputs = producer.send_all([(_bytes(key), _bytes(value)) for key, value in records])
        elif method == "send_string":
            outputs = [producer.send_string(value) for _, value in records]
        else:
            outputs = [producer.send(_bytes(key), _bytes(value)) for key, value in records]
        if flush:
            producer.flush()
        if not wait or not outputs or outputs[0] is None:
            return None
        done = [output.wait() for output in outputs]
        return [{"offset": one.offset(), "partition": one.partition_id()} for one in done]

    def flush(self, topic: str, config: dict[str, Any] | None = None) -> None:
        """Flush the producer that a topic and a configuration name."""
        self._producer(topic, config).flush()

    def bulk_produce(
        self, topic: str, count: int, size: int, chunk: int = 1000, config: dict[str, Any] | None = None
    ) -> dict[str, float]:
        """Send `count` records of `size` bytes by send_all, flush at the end, and tell how fast that was."""
        producer = self._producer(topic, config)
        value = b"x" * size
        outputs: list[Any] = []
        started = time.perf_counter()
        for first in range(0, count, chunk):
            outputs = producer.send_all([(b"", value)] * min(chunk, count - first))
        producer.flush()
        seconds = time.perf_counter() - started
        if outputs:
            outputs[-1].wait()  # an error of storage is told only here
        return {"seconds": seconds, "records": count, "records_per_second": count / seconds}

    def tick(
        self, topic: str, count: int, interval: float, size: int = 100, config: dict[str, Any] | None = None
    ) -> int:
        """Send and flush a record every `interval` seconds; its value begins with the time, for `latency`."""
        producer = self._producer(topic, config)
        due = time.monotonic()
        for _ in range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            due += interval
            producer.send(b"", f"{time.time_ns()} ".ljust(size, "x").encode())
            producer.flush()
        return count

    # Consuming

    def _stream(
        self,
        topic: str,
        partitions: list[int] | None = None,
        offset: list[Any] | str = "beginning",
        api: str | None = None,
        max_bytes: int | None = None,
        consumer: str | None = None,
        strategy: str | None = None,
        smartmodules: list[dict[str, Any]] | None = None,
        *,
        disable_continuous: bool = False,
    ) -> Iterator[Any]:
        """Open a stream by the "ext" or the "old" interface; as a rule the newest that can do what is asked."""
        if api is None:
            api = "old" if smartmodules or not hasattr(fluvio, "ConsumerConfigExtBuilder") else "ext"
        if api == "ext":
            _refuse(smartmodules=smartmodules)
            builder = _need(fluvio, "ConsumerConfigExtBuilder")(topic)
            builder.offset_start(_offset(offset))
            for partition in partitions or []:
                builder.partition(partition)
            if disable_continuous:
                builder.disable_continuous()
            if max_bytes is not None:
                builder.max_bytes(max_bytes)
            if consumer is not None:
                builder.offset_consumer(consumer)
            if strategy is not None:
                strategies = getattr(fluvio, "OffsetManagementStrategy", native.OffsetManagementStrategy)
                builder.offset_strategy(getattr(strategies, strategy.upper()))
            return iter(self._fluvio().consumer_with_config(builder.build()))
        _refuse(consumer=consumer, strategy=strategy)
        return self._old_stream(topic, partitions, _offset(offset), max_bytes, smartmodules, disable_continuous)

    def _old_stream(
        self,
        topic: str,
        partitions: list[int] | None,
        offset: Any,
        max_bytes: int | None,
        smartmodules: list[dict[str, Any]] | None,
        disable_continuous: bool,  # noqa: FBT001 - passed on
    ) -> Iterator[Any]:
        if partitions is not None and len(partitions) == 1:
            source = self._fluvio().partition_consumer(topic, partitions[0])
        elif partitions is None and not hasattr(fluvio, "MultiplePartitionConsumer"):
            raise Unsupported("no consumer of several partitions: name one")
        elif partitions is None:
            source = self._fluvio().multi_partition_consumer(topic)
        else:
            several = _need(self._fluvio(), "multi_topic_partition_consumer")
            source = several([(topic, partition) for partition in partitions])
        if not (smartmodules or max_bytes or disable_continuous):
            return iter(source.stream(offset))
        config = fluvio.ConsumerConfig()
        for module in smartmodules or []:
            given = {**module}
            if "kind" in given:
                given["kind"] = fluvio.SmartModuleKind[given["kind"]]
            if "aggregate" in given:
                given["aggregate"] = _bytes(given["aggregate"])
            config.smartmodule(**given)
        if max_bytes is not None:
            config._inner.max_bytes(max_bytes)  # the wrapper has forgotten it
        if disable_continuous:
            _need(config, "disable_continuous")()
        raw = getattr(offset, "_inner", offset)  # the wrapper confuses the two kinds of offset
        return self._records(source._inner.stream_with_config(raw, config._inner))

    @staticmethod
    def _records(stream: Any) -> Iterator[Any]:
        while (record := stream.next()) is not None:
            yield record

    def consume(self, topic: str, count: int | None = None, **how: Any) -> list[dict[str, Any]]:
        """Return `count` records, or all up to the end that the stream comes to."""
        return [_record(record) for record in islice(self._stream(topic, **how), count)]

    def follow(self, topic: str, count: int | None = None, **how: Any) -> int:
        """Stream "ready" when the stream is open, then each record as it comes."""
        stream = self._stream(topic, **how)
        _emit(item="ready")
        seen = 0
        for record in islice(stream, count):
            _emit(item=_record(record))
            seen += 1
        return seen

    def latency(self, topic: str, count: int, **how: Any) -> dict[str, float]:
        """Stream "ready", receive `count` records of `tick`, and stream how old they were, in milliseconds."""
        stream = self._stream(topic, **{"offset": "end", **how})
        _emit(item="ready")
        ages = sorted(
            (time.time_ns() - int(bytes(record.value()).split(b" ", 1)[0])) / 1e6 for record in islice(stream, count)
        )
        at = [ages[min(len(ages) - 1, int(len(ages) * part))] for part in (0.5, 0.9, 0.99)]
        figures = {"records": len(ages), "p50": at[0], "p90": at[1], "p99": at[2], "max": ages[-1]}
        _emit(item=figures)
        return figures

    def bulk_consume(self, topic: str, count: int, **how: Any) -> dict[str, float]:
        """Receive `count` records and tell how fast that was."""
        started = time.perf_counter()
        seen = size = 0
        for record in islice(self._stream(topic, **how), count):
            seen += 1
            size += len(record.value())
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "records": seen, "bytes": size, "records_per_second": seen / seconds}

    # Streams that stay open, and the offsets of consumers

    def open(self, topic: str, name: str = "", **how: Any) -> None:
        """Open a stream that `take` reads on: with `consumer` and `strategy`, one with stored offsets."""
        self._streams[name] = self._stream(topic, **how)

    def _opened(self, name: str) -> Iterator[Any]:
        if name not in self._streams:
            raise LookupError("no such stream is open")
        return self._streams[name]

    def take(self, count: int, name: str = "") -> list[dict[str, Any]]:
        """Return the next records of an open stream."""
        return [_record(record) for record in islice(self._opened(name), count)]

    def offset_commit(self, name: str = "") -> None:
        """Remember how far an open stream was read."""
        _need(self._opened(name), "offset_commit")()

    def offset_flush(self, name: str = "") -> None:
        """Send what was remembered to the cluster, and wait for it."""
        _need(self._opened(name), "offset_flush")()

    def shut(self, name: str = "") -> None:
        """Drop an open stream."""
        self._streams.pop(name, None)

    def consumer_offsets(self) -> list[dict[str, Any]]:
        """List the stored offsets of consumers."""
        names = ("consumer_id", "topic", "partition", "offset", "modified_time")
        found = _need(self._fluvio(), "consumer_offsets")()
        return [{name: getattr(one, name) for name in names} for one in found]  # not wrapped, whatever its type says

    def delete_consumer_offset(self, consumer: str, topic: str, partition: int) -> None:
        """Delete one stored offset."""
        _need(self._fluvio(), "delete_consumer_offset")(consumer, topic, partition)


def _answer(driver: Driver, line: str) -> None:
    try:
        arguments = json.loads(line)
        command = arguments.pop("command")
        method: Callable[..., Any] = _need(driver, command.lstrip("_"))
        _emit(result=method(**arguments))
    except Unsupported as lack:
        _emit(unsupported=str(lack))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # noqa: BLE001 - a panic of Rust is one, and is what a test wants to see
        _emit(error=str(problem) or type(problem).__name__, type=type(problem).__name__)


if __name__ == "__main__":
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the client prints is no answer
    it = Driver()
    for command_line in sys.stdin:
        _answer(it, command_line)
    os._exit(0)  # threads of the client wait for its server
