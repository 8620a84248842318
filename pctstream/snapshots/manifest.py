"""What a snapshot says of itself: a directory that is whole, or is not there.

    <folder>/<tree>-20261122T071500Z/
        shard-0.arrow ...   keys and values of each shard's store at one moment (`pairs`)
        snapshot.json       this: of which tree, and of each file what must be in it

The files are of different moments, a few seconds apart: a shard follows from its own logs (R0), so each
is caught up by itself from the positions in it (R1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from pctstream import __version__, stamp
from pctstream.core.block import Source
from pctstream.core.names import Path as NodePath
from pctstream.core.names import node_name
from pctstream.errors import ConfigError, NotFound, PctError, Unreadable

NAME = "snapshot.json"
FORMAT = 1
"""Of this file. That of the stores in a snapshot is their schema (`stamp`)."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far one input is done in a snapshot, and of which log that is true."""

    topic: str
    partition: int
    stored: int
    routed: int
    epoch: int
    topic_id: str
    leader_epoch: int = -1

    @property
    def source(self) -> Source:
        return Source(self.topic, self.partition)

    @property
    def taken(self) -> int:
        """The offset that reading goes on behind."""
        return max(self.stored, self.routed)


@dataclass(frozen=True, slots=True)
class Entry:
    """One shard: its file, and what must be in it."""

    shard: int
    file: str
    schema: int
    epoch: int
    bytes: int
    pairs: int
    hash: str
    nodes: dict[str, dict[str, Any]]
    """Of each node that the shard answered for: {count, hash} of its rows that have not left."""
    inputs: tuple[Place, ...]

    @property
    def rows(self) -> int:
        return sum(int(node["count"]) for node in self.nodes.values())

    def place(self, source: Source) -> Place | None:
        """How far this input is done; None where nothing of it had been read."""
        return next((one for one in self.inputs if one.source == source), None)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole snapshot."""

    tree: str
    history: str
    """Id of the topic `<tree>.routing`: another one is another tree, whatever it is called."""
    created: float
    shards: tuple[Entry, ...]
    version: str = __version__
    format: int = FORMAT
    folder: Path = Path()

    def entry(self, shard: int) -> Entry:
        found = next((one for one in self.shards if one.shard == shard), None)
        if found is None:
            raise NotFound(f"the snapshot {self.folder} has no shard {shard}")
        return found

    def holder(self, node: NodePath, first: int) -> Entry | None:
        """Whose file has a node; that of shard ``first`` if it does. Portions move between snapshots."""
        name = node_name(node)
        having = [one for one in self.shards if name in one.nodes]
        having.sort(key=lambda one: one.shard != first)
        return having[0] if having else None

    def to_bytes(self) -> bytes:
        said = asdict(self)
        del said["folder"]
        body = orjson.dumps(said, option=orjson.OPT_INDENT_2)
        return orjson.dumps({"sum": _sum(body), "snapshot": orjson.Fragment(body)})

    @classmethod
    def read(cls, folder: Path, tree: str) -> Manifest:
        """Unreadable where it is damaged or no snapshot, ConfigError where it is not for us."""
        try:
            raw = (folder / NAME).read_bytes()
        except OSError as error:
            raise Unreadable(f"{folder} is no whole snapshot: {error.strerror} ({NAME})") from None
        try:
            said = orjson.loads(raw)
            body = said["snapshot"]
            sound = said["sum"] == _sum(orjson.dumps(body, option=orjson.OPT_INDENT_2))
            form = int(body["format"])
        except (ValueError, LookupError, TypeError):
            raise Unreadable(f"{folder / NAME} cannot be read: take another snapshot") from None
        if form > FORMAT:
            raise ConfigError(
                f"the snapshot {folder} was written by pctstream {body.get('version')} in format {form}; "
                f"this is {__version__} with format {FORMAT}: restore it with that version"
            )
        if not sound:
            raise Unreadable(f"{folder / NAME} is damaged: take another snapshot")
        if body["tree"] != tree:
            raise ConfigError(
                f"the snapshot {folder} is of the tree {body['tree']}, not of {tree}: name another "
                "snapshot, or set tree.name"
            )
        entries = [
            Entry(**{**one, "inputs": tuple(Place(**i) for i in one["inputs"])})
            for one in body["shards"]
        ]
        for one in entries:
            if one.schema > stamp.SCHEMA:
                raise ConfigError(
                    f"the snapshot {folder} has stores of schema {one.schema}, written by pctstream "
                    f"{body['version']}; this is {__version__} with schema {stamp.SCHEMA}: restore it "
                    "with that version"
                )
        return replace(cls(**{**body, "shards": tuple(entries)}), folder=folder)


def _sum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def named(folder: Path, tree: str) -> Manifest:
    """The snapshot that ``folder`` is, or the newest one of the tree that lies in it."""
    if (folder / NAME).exists():
        return Manifest.read(folder, tree)
    newest = next(newest_first(folder, tree), None)
    if newest is None:
        raise NotFound(f"there is no whole snapshot of the tree {tree} in {folder}")
    return newest


def newest_first(folder: Path, tree: str) -> Iterator[Manifest]:
    """The whole snapshots of a tree in a folder; what cannot be read is passed over."""
    found = []
    for one in folder.glob(f"{tree}-*/{NAME}"):
        with suppress(PctError):
            found.append(Manifest.read(one.parent, tree))
    yield from sorted(found, key=lambda one: one.created, reverse=True)
