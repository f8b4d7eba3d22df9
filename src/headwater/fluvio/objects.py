"""Owns Fluvio's objects as they go over the wire: topics, partitions, SPUs, SmartModules. Pure; stores none of them.

Fields and their versions are those of Fluvio's sources from 0.9 to 0.18. A new version of the protocol adds a field
with `Since`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from typing import Annotated, ClassVar

import msgspec

from headwater.fluvio.compression import Compression
from headwater.fluvio.wire import I32, I64, U8, U16, U32, U64, Codec, Message, Reader, Since, codec_of

# A size that a partition's leader does not tell.
UNKNOWN_SIZE = -2


class HomePartition(Message, frozen=True):
    """Where a partition that is mirrored here comes from."""

    TAG: ClassVar[int] = 1
    remote_cluster: str
    remote_replica: str
    source: Annotated[bool, Since(18)] = False


class RemotePartition(Message, frozen=True):
    """Where a partition is mirrored to."""

    TAG: ClassVar[int] = 0
    home_cluster: str
    home_spu_key: str
    home_spu_id: I32
    home_spu_endpoint: str
    target: Annotated[bool, Since(18)] = False


class PartitionMap(Message, frozen=True):
    """Which SPUs hold a partition, when the user has said so."""

    id: U32
    replicas: tuple[I32, ...]
    mirror: Annotated[HomePartition | RemotePartition | None, Since(14)] = None


class Assigned(Message, frozen=True):
    """Partitions with the SPUs that hold them."""

    TAG: ClassVar[int] = 0
    maps: tuple[PartitionMap, ...]


class Computed(Message, frozen=True):
    """So many partitions, placed by the cluster."""

    TAG: ClassVar[int] = 1
    partitions: U32 = 1
    replication: U32 = 1
    ignore_rack: bool = False


class RemoteMirror(Message, frozen=True):
    """A topic whose records go to another cluster."""

    TAG: ClassVar[int] = 0
    home_cluster: str
    home_spus: tuple[SpuMirror, ...]
    target: Annotated[bool, Since(18)] = False


class SpuMirror(Message, frozen=True):
    """An SPU of another cluster."""

    id: I32
    key: str
    endpoint: str


class HomeMirror(Message, frozen=True):
    """A topic whose records come from other clusters."""

    TAG: ClassVar[int] = 1
    partitions: tuple[HomePartition, ...]
    source: Annotated[bool, Since(18)] = False


class Mirrored(Message, frozen=True):
    """A topic that is mirrored."""

    TAG: ClassVar[int] = 2
    mirror: RemoteMirror | HomeMirror


class Retention(Message, frozen=True):
    """Records older than this are deleted, a segment at a time. `policy` is 0: there is no other."""

    seconds: U32
    policy: U8 = 0

    @classmethod
    def codec(cls, version: int) -> Codec:  # noqa: ARG003 - the same in all versions
        """Return how it is written and read: as a choice of which there is only one."""
        tag, seconds = codec_of(U8, 0), codec_of(U32, 0)

        def put(parts: list[bytes], value: Retention) -> None:
            tag.put(parts, value.policy)
            seconds.put(parts, value.seconds)

        def get(reader: Reader) -> Retention:
            policy = tag.get(reader)
            return Retention(seconds.get(reader), policy)

        return Codec(put, get)


class Storage(Message, frozen=True):
    """Sizes in bytes."""

    segment_size: U32 | None = None
    max_partition_size: U64 | None = None


class Algorithm(IntEnum):
    """Which compression a topic allows; the numbers are not those of batches."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ANY = 4
    ZSTD = 5

    @property
    def codec_of_batches(self) -> Compression | None:
        """The one codec of a topic's batches, None when any will do."""
        return None if self is Algorithm.ANY else Compression[self.name]


class Bounds(Message, frozen=True):
    """How many keys deduplication remembers, and for how long."""

    count: U64
    age: timedelta | None = None


class Transform(Message, frozen=True):
    """The SmartModule that tells repeats, and its parameters."""

    uses: str
    with_: dict[str, str]


class Deduplication(Message, frozen=True):
    """How a topic drops repeats."""

    bounds: Bounds
    transform: Transform


class TopicSpec(Message, frozen=True):
    """What a topic is made with."""

    replicas: Assigned | Computed | Mirrored = Computed()
    cleanup: Annotated[Retention | None, Since(3)] = None
    storage: Annotated[Storage | None, Since(4)] = None
    compression: Annotated[Algorithm, Since(6)] = Algorithm.ANY
    deduplication: Annotated[Deduplication | None, Since(12)] = None
    system: Annotated[bool, Since(13)] = False

    @property
    def partitions(self) -> int:
        """How many partitions it has."""
        if isinstance(self.replicas, Computed):
            return self.replicas.partitions
        if isinstance(self.replicas, Assigned):
            return len(self.replicas.maps)
        mirror = self.replicas.mirror
        return len(mirror.home_spus if isinstance(mirror, RemoteMirror) else mirror.partitions)


class TopicResolution(IntEnum):
    """How far a topic has got."""

    INIT = 0
    PENDING = 1
    INSUFFICIENT_RESOURCES = 2
    INVALID_CONFIG = 3
    PROVISIONED = 4
    DELETING = 5


class TopicStatus(Message, frozen=True):
    """What became of a topic. `replica_map` says which SPUs hold each partition."""

    resolution: TopicResolution = TopicResolution.INIT
    replica_map: dict[U32, tuple[I32, ...]] = msgspec.field(default_factory=dict)
    mirror_map: Annotated[dict[U32, HomePartition | RemotePartition], Since(14)] = msgspec.field(default_factory=dict)
    reason: str = ""


class Topic(Message, frozen=True):
    """A topic with its name and its status."""

    LABEL: ClassVar[str] = "Topic"
    name: str
    spec: TopicSpec
    status: TopicStatus


class PartitionSpec(Message, frozen=True):
    """Who leads a partition, who has copies, and what its topic says."""

    leader: I32 = 0
    replicas: tuple[I32, ...] = ()
    cleanup: Annotated[Retention | None, Since(4)] = None
    storage: Annotated[Storage | None, Since(4)] = None
    compression: Annotated[Algorithm, Since(6)] = Algorithm.ANY
    deduplication: Annotated[Deduplication | None, Since(12)] = None
    system: Annotated[bool, Since(13)] = False
    mirror: Annotated[HomePartition | RemotePartition | None, Since(14)] = None


class PartitionResolution(IntEnum):
    """Whether a partition can be used."""

    OFFLINE = 0
    ONLINE = 1
    LEADER_OFFLINE = 2
    ELECTION_LEADER_FOUND = 3
    OUT_OF_STORAGE = 4


class ReplicaStatus(Message, frozen=True):
    """How far a copy has got: the offset that all copies have, and the one behind the last record."""

    spu: I32 = 0
    high_watermark: I64 = -1
    end: I64 = -1


class PartitionStatus(Message, frozen=True):
    """The state of a partition."""

    resolution: PartitionResolution = PartitionResolution.OFFLINE
    leader: ReplicaStatus = ReplicaStatus()
    in_sync: U32 = 0
    replicas: tuple[ReplicaStatus, ...] = ()
    size: Annotated[I64, Since(5)] = UNKNOWN_SIZE
    deleting: bool = False
    base_offset: Annotated[I64, Since(16)] = 0


class Partition(Message, frozen=True):
    """A partition. Its name is the topic's, a hyphen and its number."""

    LABEL: ClassVar[str] = "Partition"
    name: str
    spec: PartitionSpec
    status: PartitionStatus


class Encryption(IntEnum):
    """How an endpoint is spoken to."""

    PLAINTEXT = 0
    SSL = 1


class Address(Message, frozen=True):
    """A host by its name or its number."""

    hostname: str | None = None
    ip: str | None = None


class Ingress(Message, frozen=True):
    """Where clients find an SPU."""

    port: U16 = 0
    addresses: tuple[Address, ...] = ()
    encryption: Encryption = Encryption.PLAINTEXT

    @property
    def host(self) -> str:
        """The host that clients dial: the first address."""
        return next((found for it in self.addresses[:1] if (found := it.hostname or it.ip)), "")


class Endpoint(Message, frozen=True):
    """Where an SPU listens."""

    port: U16 = 0
    host: str = ""
    encryption: Encryption = Encryption.PLAINTEXT


class SpuSpec(Message, frozen=True):
    """An SPU. `kind` is 0 when the cluster runs it, 1 when somebody else does."""

    id: I32
    kind: U8 = 0
    public: Ingress = Ingress()
    private: Endpoint = Endpoint()
    rack: str | None = None
    public_local: Annotated[Endpoint | None, Since(1)] = None


class SpuResolution(IntEnum):
    """Whether an SPU answers."""

    ONLINE = 0
    OFFLINE = 1
    INIT = 2


class SpuStatus(Message, frozen=True):
    """The state of an SPU."""

    resolution: SpuResolution = SpuResolution.INIT


class Spu(Message, frozen=True):
    """An SPU with its name and its status."""

    LABEL: ClassVar[str] = "SPU"
    name: str
    spec: SpuSpec
    status: SpuStatus


class Parameter(Message, frozen=True):
    """What a SmartModule says of one of its parameters."""

    description: str | None = None
    optional: bool = False


class Package(Message, frozen=True):
    """Who a SmartModule is by. `visibility` is 0 for private."""

    name: str
    group: str
    version: str
    api_version: str
    description: str | None = None
    license: str | None = None
    visibility: Annotated[U8, Since(19)] = 0
    repository: str | None = None


class ModuleMetadata(Message, frozen=True):
    """What came along with a SmartModule's code."""

    package: Package
    parameters: dict[str, Parameter]


class ModuleSummary(Message, frozen=True):
    """What a list says instead of the code."""

    size: U32


class ModuleSpec(Message, frozen=True):
    """A SmartModule. `wasm` is its code under gzip, `form` 0 for binary."""

    metadata: ModuleMetadata | None = None
    summary: ModuleSummary | None = None
    form: U8 = 0
    wasm: bytes = b""


class ModuleStatus(Message, frozen=True):
    """The state of a SmartModule, of which there is none."""


class Module(Message, frozen=True):
    """A SmartModule with its name."""

    LABEL: ClassVar[str] = "SmartModule"
    name: str
    spec: ModuleSpec
    status: ModuleStatus = ModuleStatus()


class Rest(Message, frozen=True):
    """An object of a kind that is not looked into."""

    data: bytes

    @classmethod
    def codec(cls, version: int) -> Codec:  # noqa: ARG003 - never looked into, in no version
        """Return how it is written and read: all that is left."""

        def get(reader: Reader) -> Rest:
            return Rest(reader.bytes(reader.end - reader.position))

        return Codec(lambda parts, value: parts.append(value.data), get)


Object = Topic | Partition | Spu | Module
OBJECTS: dict[str, type[Object]] = {kind.LABEL: kind for kind in (Topic, Partition, Spu, Module)}
# Kinds of objects that clients may ask for, and of which there are never any here.
EMPTY_LABELS = ("CustomSpu", "SpuGroup", "TableFormat", "Mirror")
