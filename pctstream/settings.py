"""Every setting of pctstream: its place, type, default, unit, reason and what it may be.

A section is a frozen dataclass; what `pctstream config` prints, the checks that `config.load`
makes and the example file all come from the one line that declares a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pctstream import allowed
from pctstream.allowed import Allowed

COST = {"reindexed_row": 1.0, "region": 100.0, "second": 1e6}
CHOSEN = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "group.id",
        "group.instance.id",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "partitioner",
    }
)
"""librdkafka properties that rules R1 and R2 rest on: `kafka.client` cannot change them."""

_KAFKA_NAME = r"[A-Za-z0-9._-]{1,249}"
_AXIS = r"dim:\d{1,5}|(?!dim:).{1,200}"


def _set(default: object, unit: str, why: str, may_be: Allowed, *, secret: bool = False) -> Any:
    """A dataclass field that carries what SETTINGS needs; a mutable default is copied."""
    metadata = {"unit": unit, "why": why, "allowed": may_be, "secret": secret}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


# One setting a line, as in a table.
# fmt: off


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """The tree: fixed for life by record 0 and 1 of `.routing`, apart from the level timers."""

    name: str = _set("pct", "-", "prefix of every topic and group, so that trees can share a cluster", allowed.text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", "1 to 80 letters, digits, _ or - (no dot: it ends the name in a topic)"))
    dimension: int = _set(0, "numbers", "length of a row's vector; 0: the majority of the first 100 rows fixes it", allowed.whole(0, 65_536))
    metric: Literal["euclidean", "cosine"] = _set("euclidean", "-", "distance between rows; cosine normalises them", allowed.one_of("euclidean", "cosine", why="a cover needs the triangle inequality: inner product has none, normalise and use cosine; others are not built"))
    epsilon: float | Literal["auto"] = _set("auto", "distance", "radius of N0's cover; auto: such that it has about fanout prototypes", allowed.auto_or(allowed.number(0.0, above=True)))
    epsilon_ratio: float | Literal["auto"] = _set("auto", "ratio", "epsilon of a level over that of the level above", allowed.auto_or(allowed.number(0.0, 1.0, above=True)))
    fanout: int = _set(16, "prototypes", "children that an automatic epsilon aims at", allowed.whole(2, 4096))
    gap: int = _set(1000, "rows", "X: this many rows without a new prototype end the covering", allowed.whole(1, 10**9))
    sink_rows: int = _set(50_000, "rows", "Y: a node that scanned this many without a cover is a sink", allowed.whole(1, 10**9))
    sink_scans: bool = _set(True, "-", "a sink below the cut scans again each time its rows have doubled, and splits where they have a cover by now", allowed.switch())
    level_rows: int = _set(50_000, "rows", "a level closes when its parents routed this many since it opened", allowed.whole(1, 10**12))
    stop: Literal["gap", "block"] = _set("gap", "-", "gap: X consecutive rows; block: a whole aligned block of X rows", allowed.one_of("gap", "block"))
    kmeans_iterations: int = _set(5, "iterations", "k-means steps that even out the cells of a found cover", allowed.whole(0, 1000))
    balance: bool = _set(True, "-", "in these steps centroids also move from light cells into heavy ones, no scanned row farther than 2 epsilon from its centroid; false: Lloyd's steps alone", allowed.switch())
    miss_limit: float | Literal["auto"] = _set("auto", "ratio", "a node whose cover misses more of its rows, at 95 % confidence, looks for more of it; 0: none does; auto: 9 / gap, three times what a scan promises", allowed.auto_or(allowed.number(0.0, 1.0)))
    miss_cooldown: int = _set(4096, "rows", "a node whose cover has changed routes this many before it looks again", allowed.whole(1, 10**9))
    half_life_s: float = _set(0.0, "seconds", "a row weighs half so much later, by the rows' own times; 0: weights do not fade", allowed.number(0.0))
    fold_share: float = _set(0.0, "ratio", "children whose faded weight, with what the cover misses, is less than this share together get no more rows, their siblings take them; about miss_limit / 9, or they are found again; 0: none is folded", allowed.number(0.0, 0.5))
    max_level: int = _set(6, "levels", "nodes at this level hold rows and are not scanned", allowed.whole(1, 32))
    cut: int = _set(1, "levels", "depth at which pipes stop being topics; each level above costs a hop", allowed.whole(1, 8))
    level_idle_s: float = _set(5.0, "seconds", "a level closes when no row came for this long", allowed.number(0.0, above=True))
    moment_s: float = _set(60.0, "seconds", "the nodes' weights are kept this often, the thinner the older (`cover?at=`); 0: never", allowed.number(0.0, 86_400))
    level_timeout_s: float = _set(60.0, "seconds", "a level closes this long after it opened, whatever came", allowed.number(0.0, above=True))
    seed: int = _set(0, "-", "seed of everything that draws at random", allowed.whole(0, 2**63 - 1))


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How rows come in."""

    topics: tuple[str, ...] = _set((), "topics", "other people's topics that are bridged into <tree>.P0", allowed.several(allowed.text(_KAFKA_NAME, "a topic name"), range(1001)))
    format: Literal["auto", "json", "float32", "arrow"] = _set("auto", "-", "how a message without a content-type header is read", allowed.one_of("auto", "json", "float32", "arrow"))
    ttl_s: float = _set(0.0, "seconds", "a row leaves so long after the broker took it, unless its id comes again; 0: it stays", allowed.number(0.0))
    on_loss: Literal["end", "stop"] = _set("end", "-", "rows that nobody has read are gone from a log: end: the worker ends with code 5; stop: it goes on without that input, not ready", allowed.one_of("end", "stop"))


@dataclass(frozen=True, slots=True)
class ShardsSettings:
    """The storage nodes. `active` 0 becomes `count`."""

    count: int = _set(8, "shards", "partitions of <tree>.P0: fixed for the life of the tree", allowed.whole(1, 1024))
    active: int = _set(0, "shards", "shards that get portions; 0: all of them", allowed.whole(0, 1024))
    capacity: Mapping[int, float] = _set({}, "weight by shard", "a shard's share of the load, 1 if not named", allowed.weights(None, {}))
    rows_per_s: float = _set(0.0, "rows per second", "what the shards carry together; 0: the most that they were seen to", allowed.number(0.0))

    def __post_init__(self) -> None:
        if self.active == 0:
            object.__setattr__(self, "active", self.count)


@dataclass(frozen=True, slots=True)
class BlocksSettings:
    """The blocks that are written to pipes: closed by whichever limit is met first."""

    rows: int = _set(1024, "rows", "larger blocks are faster, smaller ones sooner there", allowed.whole(1, 65_536))
    bytes: int = _set(524_288, "bytes", "size of a block before compression, below the broker's limit", allowed.whole(1024, 1_000_000))
    linger_ms: int = _set(20, "milliseconds", "longest wait of a row for others of its portion", allowed.whole(0, 10_000))
    row_bytes: int = _set(900_000, "bytes", "largest row; a larger one is a dead letter (too-large)", allowed.whole(64, 1_000_000))


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """The forecast that decides when portions move."""

    window_s: float = _set(5.0, "seconds", "time step of densities and of the reports to <tree>.state", allowed.number(0.1, 86_400))
    horizon: int = _set(6, "windows", "how far ahead the forecast looks", allowed.whole(1, 1000))
    model: Literal["auto", "naive", "ets", "arima"] = _set("auto", "-", "auto: the one with the smallest error so far, naive included", allowed.one_of("auto", "naive", "ets", "arima"))
    threshold: float = _set(3.0, "units of noise", "drift score above which a portion may move", allowed.number(0.0, above=True))
    cooldown_s: float = _set(60.0, "seconds", "a portion that moved stays at least this long", allowed.number(0.0))
    tolerance: float = _set(1.10, "ratio", "predicted load over capacity that sets off a plan", allowed.number(1.0))
    min_gain: float = _set(0.05, "ratio", "a plan that lowers the maximum load by less is not made", allowed.number(0.0, 1.0))
    automatic: bool = _set(True, "-", "false: plans are only proposed, a person applies them", allowed.switch())
    promote: bool = _set(False, "-", "a drifting portion too heavy for every shard becomes a trunk node, its children portions", allowed.switch())


@dataclass(frozen=True, slots=True)
class MovesSettings:
    """Moves of portions between shards."""

    bytes_per_s: int = _set(50_000_000, "bytes per second", "a copy takes no more than this from the disk and the net", allowed.whole(1000, 10**12))
    concurrent: int = _set(1, "moves", "moves at a time", allowed.whole(1, 64))
    grace_s: float = _set(10.0, "seconds", "the old owner still answers for this long after a move", allowed.number(0.0))


@dataclass(frozen=True, slots=True)
class SpatialSettings:
    """The density map and the regions."""

    enabled: bool = _set(False, "-", "positions are indexed", allowed.switch())
    x: str = _set("lon", "field", "payload field of the first coordinate, or dim:N of the vector", allowed.text(_AXIS, 'a payload field or "dim:N"'))
    y: str = _set("lat", "field", "payload field of the second coordinate, or dim:N of the vector", allowed.text(_AXIS, 'a payload field or "dim:N"'))
    bounds: tuple[float, ...] = _set((), "x0, y0, x1, y1", "the map's area; []: from the first rows, grows by doubling", allowed.box())
    coordinates: Literal["auto", "plane", "globe"] = _set("auto", "-", "globe: degrees, distances in metres; plane: the unit of x and y; auto: globe if x and y are lon and lat, or longitude and latitude", allowed.one_of("auto", "plane", "globe"))
    cells: tuple[int, int] = _set((64, 64), "cells", "resolution of the density map", allowed.several(allowed.whole(2, 4096), range(2, 3)))
    pattern: Literal["quadtree", "kdtree"] = _set("quadtree", "-", "how a region splits", allowed.one_of("quadtree", "kdtree"))
    neighbors: Literal["proximity", "count"] = _set("proximity", "-", "which neighbour a small region merges with", allowed.one_of("proximity", "count"))
    split_rows: int = _set(5000, "rows", "a region with more splits", allowed.whole(2, 10**9))
    merge_rows: int = _set(1000, "rows", "a region with fewer merges", allowed.whole(0, 10**9))
    min_size: float = _set(0.0, "units of x and y", "no region gets smaller than this", allowed.number(0.0))
    max_size: float = _set(0.0, "units of x and y", "no region gets larger than this; 0: no limit", allowed.number(0.0))
    max_depth: int = _set(48, "cuts", "no region is deeper: it ends what no cut can part", allowed.whole(1, 96))
    max_regions: int = _set(65_536, "regions", "no more are made in a shard", allowed.whole(1, 10**7))
    query_weight: float = _set(15.0, "ratio", "where most queries look, each row counts up to so many times more: regions are finer there", allowed.number(0.0, 1000))
    query_half_life_s: float = _set(30.0, "seconds", "a query counts half after this long", allowed.number(0.1))
    interval_s: float = _set(10.0, "seconds", "regions are looked at this often", allowed.number(0.1))
    change_rows: int = _set(10_000, "rows", "or after this many inserts and deletes", allowed.whole(1, 10**9))
    change_fraction: float = _set(0.0, "ratio", "or after inserts and deletes of this share of all rows; 0: not asked", allowed.number(0.0, 1.0))
    slice_rows: int = _set(8192, "rows", "moved to other regions at a time, before whoever waits has a turn", allowed.whole(256, 10**7))
    cost: Mapping[str, float] = _set(COST, "cost per unit", "what a split or merge is charged", allowed.weights(tuple(COST), COST))
    budget_per_min: float = _set(1e6, "cost per minute", "splits and merges stop when it is used up", allowed.number(0.0))


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP server of every worker."""

    bind: str = _set("127.0.0.1:8800", "host:port", "worker n listens on this port + n", allowed.address(many=False))
    token_file: Path | None = _set(None, "path", "file with the bearer token, or two while it changes; none: no authentication, loopback only", allowed.folder_or_file(empty=True))
    cert_file: Path | None = _set(None, "path", "certificate chain (PEM) that names the hosts of bind; none: no TLS", allowed.folder_or_file(empty=True))
    key_file: Path | None = _set(None, "path", "its private key (PEM, without a password)", allowed.folder_or_file(empty=True))
    ca_file: Path | None = _set(None, "path", "whose certificates the workers and commands take from workers; none: the system's", allowed.folder_or_file(empty=True))


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The broker, and how soon a dead worker is noticed."""

    broker: str = _set("", "host:port,...", 'bootstrap servers; "": a local broker is started', allowed.address(many=True))
    session_timeout_s: float = _set(10.0, "seconds", "a worker silent for this long loses its shards", allowed.number(1.0, 1800))
    heartbeat_s: float = _set(3.0, "seconds", "between two signs of life", allowed.number(0.1, 600))
    client: Mapping[str, Any] = _set({}, "librdkafka properties", "security and tuning of every client", allowed.properties(CHOSEN), secret=True)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the shards' RocksDB live."""

    dir: Path = _set(Path("data"), "path", "data directory: one per machine, relative to the config file", allowed.folder_or_file(empty=False))
    snapshots: Path | None = _set(None, "path", "where snapshots are put, and where a worker that lacks a shard's store looks for one; none: nowhere", allowed.folder_or_file(empty=True))
    standby: int = _set(0, "copies", "warm copies of each shard on other workers", allowed.whole(0, 4))
    cache_bytes: int = _set(268_435_456, "bytes", "cache that a worker's shards share: blocks read, and rows not flushed yet", allowed.whole(1 << 20, 1 << 40))


@dataclass(frozen=True, slots=True)
class BloomSettings:
    """The filters that save asking a shard for an id."""

    fpr: float = _set(0.01, "ratio", "share of absent ids for which a shard says maybe", allowed.number(1e-6, 0.5))


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """What nothing may exceed (rule R12)."""

    channel_blocks: int = _set(16, "blocks", "waiting for one node agent before its reader pauses", allowed.whole(1, 10_000))
    rows_in_flight: int = _set(200_000, "rows", "read by a worker and not yet applied or acked", allowed.whole(1, 10**9))
    bytes_in_flight: int = _set(67_108_864, "bytes", "the same, of messages read and of messages not yet acked", allowed.whole(1 << 20, 1 << 40))
    prototypes: int = _set(4096, "prototypes per node", "a larger cover makes the node a sink", allowed.whole(1, 1_000_000))
    nodes: int = _set(100_000, "nodes", "the tree grows no further", allowed.whole(2, 10**7))
    moment_nodes: int = _set(4096, "nodes", "a kept moment goes as many levels deep as have so few nodes together; at most 160 are kept", allowed.whole(1, 16_384))
    topics: int = _set(2000, "topics", "portions that get a pipe of their own", allowed.whole(1, 10**6))
    search_bytes: int = _set(536_870_912, "bytes", "rows kept in memory by a worker to be searched; others are read from the store", allowed.whole(1 << 20, 1 << 40))
    spatial_bytes: int = _set(536_870_912, "bytes", "spatial indexes of a worker; rows of a node that does not fit are read from the store", allowed.whole(1 << 20, 1 << 40))
    unit_rows: int = _set(16_384, "rows", "decoded and applied together", allowed.whole(1, 10**7))
    unit_bytes: int = _set(8_388_608, "bytes", "decoded and applied together", allowed.whole(1024, 1 << 31))


# fmt: on


@dataclass(frozen=True, slots=True)
class Config:
    """All sections; made by `config.load`, which checks them too."""

    tree: TreeSettings = field(default_factory=TreeSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    shards: ShardsSettings = field(default_factory=ShardsSettings)
    blocks: BlocksSettings = field(default_factory=BlocksSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    moves: MovesSettings = field(default_factory=MovesSettings)
    spatial: SpatialSettings = field(default_factory=SpatialSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    bloom: BloomSettings = field(default_factory=BloomSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of SETTINGS; `key` is section.name, `secret` ones are never printed."""

    key: str
    default: object
    unit: str
    why: str
    allowed: Allowed
    secret: bool


SECTIONS: dict[str, type] = {part.name: part.default_factory for part in fields(Config)}  # type: ignore[misc]
SETTINGS: dict[str, Setting] = {
    f"{section}.{part.name}": Setting(
        f"{section}.{part.name}",
        part.default if part.default_factory is MISSING else part.default_factory(),
        **part.metadata,
    )
    for section, kind in SECTIONS.items()
    for part in fields(kind)
}
