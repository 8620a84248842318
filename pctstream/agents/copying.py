"""A portion from one shard's store to another's, over HTTP (DESIGN 7, COPYING).

The source gives the portion as its store has it at one moment, key by key, while it goes on applying
the pipe (`pairs`). The target writes as it reads, but what makes the portion whole (its state and its
place in the pipe) only when all was there and right: a copy that broke off is begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from pctstream import stamp
from pctstream.agents.shard import Shard
from pctstream.config import Config
from pctstream.core.block import Source, decode
from pctstream.core.names import Path, node_name
from pctstream.errors import NotReady, RowRefused
from pctstream.keyspace import ROWS, of_kind
from pctstream.pairs import PIECE_BYTES, CopyBroken, Incoming, streamed
from pctstream.store import Store, portion_prefixes, whole_keys
from pctstream.trust import calling

ANSWER_S = 10.0
"""Of silence: then the copy is begun again."""


def sent(
    store: Store, path: Path, source: Source, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The copy of a portion as pieces of an Arrow stream; ``store`` must not change meanwhile."""
    state = store.state(path) or {}
    told = {"rows": str(state.get("rows", 0)), "bytes": str(state.get("bytes", 0)),
            "schema": str(stamp.SCHEMA)}  # fmt: skip
    return streamed(store.portion(path, source), told, piece_bytes)


def received(
    store: Store, path: Path, source: Source, pieces: Iterator[bytes],
    told: Callable[[int, int], None], copied: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Write a copy as it comes; CopyBroken or NotReady where it is not whole.

    ``told(rows, bytes)``: of the whole portion; ``copied(rows, bytes)``: after each piece, and it may
    wait, or raise to give up.
    """
    store.expect(path, source)
    whole: list[tuple[bytes, bytes]] = []
    allowed = tuple(portion_prefixes(path))
    last = whole_keys(path, source)
    incoming = Incoming(pieces)
    head = incoming.told
    if (schema := int(head.get("schema", 1))) != stamp.SCHEMA:
        raise CopyBroken(f"a copy of schema {schema}, here it is {stamp.SCHEMA}")
    told(int(head.get("rows", 0)), int(head.get("bytes", 0)))
    for pairs in incoming:
        some, rows = [], 0
        for key, value in pairs:
            if key in last:
                whole.append((key, value))
            elif key.startswith(allowed):
                some.append((key, value))
                rows += _rows(value) if key.startswith(of_kind(ROWS)) else 0
            else:
                raise CopyBroken(f"a copy with the key {key[:40]!r} is not of this portion")
        store.take(some)
        copied(rows, sum(len(key) + len(value) for key, value in pairs))
    if not whole:
        raise NotReady("the source has read nothing of this portion yet")
    store.take(whole)


def pulled(
    cfg: Config, source: int, host: Mapping[str, Any] | None, shard: Shard, path: Path, why: str,
    told: Callable[[int, int], None], copied: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Ask the ``host`` of shard ``source`` (its record) for a portion, and write it into this shard's store
    as `received` does; ``why`` (`move=ID`, `standby=SHARD`) gives a right to it. NotReady where there is
    none yet."""
    if host is None:
        raise NotReady(f"shard {source} has not told where it is")
    name = node_name(path)
    url = f"{host['url']}/v1/shards/{source}/portions/{name}/copy?{why}"
    with httpx.stream("GET", url, timeout=ANSWER_S, **calling(cfg)) as answer:
        if answer.status_code != 200:
            raise NotReady(f"shard {source} gives no copy of {name} yet")
        received(shard.store, path, shard.source(path), answer.iter_bytes(), told, copied)


def _rows(value: bytes) -> int:
    try:
        return len(decode(value))
    except (RowRefused, ValueError) as error:
        raise CopyBroken(f"the copy broke off: {error}") from None
