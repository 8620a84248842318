"""What of a shard's store goes into a snapshot, and what of a snapshot into a shard's store.

Into it: all but the portions that the shard did not answer for then. Back: all but the portions that it
does not answer for now, and those that it does from whichever shard's file has them, because portions
move between a snapshot and the day that it is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import orjson

from pctstream import __version__, stamp
from pctstream.core import moves
from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path, node_name, node_path, pipe_topic
from pctstream.core.routing import Routing
from pctstream.keyspace import INPUTS, STATES, of_kind
from pctstream.pairs import Pair, streamed
from pctstream.store import Store, portion_prefixes, whole_keys

LAST = (of_kind(INPUTS), of_kind(STATES))
"""How the keys begin that say that what came before is whole: they are written last."""


def taken(store: Store, tree: str, shard: int, log: Routing) -> Iterator[bytes]:
    """A shard as an Arrow stream; ``store`` is of one moment, ``log`` of that moment or later."""
    kept = {ROOT, *log.owned(shard)}
    told = {
        "tree": tree, "shard": str(shard), "schema": str(stamp.SCHEMA), "version": __version__,
        "epoch": str(log.epoch), "nodes": orjson.dumps(sorted(map(node_name, kept))).decode(),
    }  # fmt: skip
    others = {node_path(name) for name in store.nodes()} - kept
    return streamed(without(store.pairs(), tree, others), told)


def answered_for(log: Routing, shard: int) -> set[Path]:
    """Nodes whose rows a shard cannot get from another shard."""
    roles = log.roles(shard)
    return {ROOT, *(path for path, role in roles.items() if role != moves.SHADOW)}


def without(pairs: Iterable[Pair], tree: str, nodes: Collection[Path]) -> Iterator[Pair]:
    """The pairs that are not of these portions."""
    prefixes, whole = _keys(tree, nodes)
    return (pair for pair in pairs if pair[0] not in whole and not pair[0].startswith(prefixes))


def only(pairs: Iterable[Pair], tree: str, nodes: Collection[Path]) -> Iterator[Pair]:
    """The pairs that are."""
    prefixes, whole = _keys(tree, nodes)
    return (pair for pair in pairs if pair[0] in whole or pair[0].startswith(prefixes))


def _keys(tree: str, nodes: Collection[Path]) -> tuple[tuple[bytes, ...], set[bytes]]:
    prefixes = tuple(prefix for path in nodes for prefix in portion_prefixes(path))
    whole = {key for path in nodes for key in whole_keys(path, source_of(tree, path, 0))}
    return prefixes, whole


def source_of(tree: str, path: Path, shard: int) -> Source:
    """The input of a node on a shard."""
    return Source(pipe_topic(tree, path), shard if path == ROOT else 0)
