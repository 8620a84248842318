"""Takes a snapshot: every shard's store as it is at one moment, pulled from its worker over HTTP.

1. One at a time in a folder; what an earlier one left unfinished is removed. 2. Each shard's file is
pulled, at a rate, while rows go on flowing: the worker reads a frozen store, no turn waits for it. 3. Each
file is flushed and read again from the disk (`proven`). 4. A portion that changed its owner meanwhile may
be in no file: its owner of now is pulled again. 5. The logs must go on behind it. 6. Only then does it
get its name. Whatever happens before, there is no snapshot of that name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka.admin import AdminClient

from pctstream.agents.throttle import Throttle
from pctstream.config import Config
from pctstream.core.names import node_path
from pctstream.errors import NotReady, Unreadable, UsageError
from pctstream.known import whole_history
from pctstream.snapshots.against import continued, missing
from pctstream.snapshots.manifest import NAME, Entry, Manifest
from pctstream.snapshots.proven import examined
from pctstream.topics import topic_ids
from pctstream.trust import calling

PART = ".part"
HOST_S = 60.0
"""A shard that changes hosts is asked for again for so long after the first failure."""
AGAIN_S = 0.5
NAME_S = 0.05
ANSWER_S = 30.0
ROUNDS = 10
"""Shards are pulled again so often for portions that moved meanwhile."""
AskShards = Callable[[], list[dict[str, Any]]]
Tell = Callable[[str], None]


def own_name(folder: Path, tree: str) -> tuple[Path, float]:
    """The directory of a snapshot that begins now, and when that is; a name is for a second, so the one
    who comes in the same second as another waits for the next."""
    while True:
        created = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(created))
        if not (final := folder / f"{tree}-{stamp}").exists():
            return final, created
        time.sleep(NAME_S)


class Taking:
    """One snapshot under way."""

    def __init__(
        self, cfg: Config, admin: AdminClient, ask_shards: AskShards, tell: Tell, bytes_per_s: float
    ) -> None:  # fmt: skip
        self._cfg, self._admin = cfg, admin
        self._ask_shards, self._tell = ask_shards, tell
        self._throttle = Throttle(bytes_per_s)

    def take(self, folder: Path) -> Manifest:
        """A whole snapshot in a new directory in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        tree = self._cfg.tree.name
        with alone(folder, tree):  # 1
            final, created = own_name(folder, tree)
            part = final.with_name(f".{final.name}{PART}")
            for left in folder.glob(f".{tree}-*{PART}"):
                shutil.rmtree(left)
            try:
                part.mkdir()
                manifest = self._filled(part, created)
                _written(part / NAME, manifest.to_bytes())
                _synced(part)
                part.rename(final)  # 6
                _synced(folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        return Manifest.read(final, tree)

    def _filled(self, part: Path, created: float) -> Manifest:
        tree, count = self._cfg.tree.name, self._cfg.shards.count
        history = f"{tree}.routing"
        identity = topic_ids(self._admin, [history]).get(history)
        if identity is None:
            raise NotReady(f"there is no topic {history}: start `pctstream up`")
        entries: Mapping[int, Entry] = {n: self._pulled(part, n) for n in range(count)}
        for _ in range(ROUNDS):
            log = whole_history(self._cfg)
            manifest = Manifest(tree, identity, created, tuple(entries.values()), folder=part)
            absent = missing(manifest, log.owners)  # 4
            if not absent:
                break
            again = {log.owners[node_path(name)] for name in absent}
            entries = {n: self._pulled(part, n) if n in again else e for n, e in entries.items()}
        else:
            raise NotReady(f"{', '.join(absent)} changed owners all the time: ask again")
        continued(self._admin, manifest, log, range(count))  # 5
        return manifest

    def _pulled(self, part: Path, shard: int) -> Entry:
        """2, 3."""
        file = part / f"shard-{shard}.arrow"
        failing = 0.0
        while True:
            try:
                url = next(s["url"] for s in self._ask_shards() if s["shard"] == shard)
                _written(file, self._pieces(f"{url}/v1/shards/{shard}/snapshot"))
                entry = examined(file)
                break
            except (httpx.HTTPError, StopIteration, NotReady, Unreadable) as error:
                now = time.monotonic()
                failing = failing or now
                if now - failing > HOST_S:
                    raise NotReady(f"shard {shard} gave no snapshot: {error!r}") from None
                time.sleep(AGAIN_S)
        self._tell(f"shard {shard}: {entry.rows:,} rows, {entry.bytes / 1e6:,.1f} MB")
        return entry

    def _pieces(self, url: str) -> Iterator[bytes]:
        with httpx.stream("GET", url, timeout=ANSWER_S, **calling(self._cfg)) as answer:
            if answer.status_code != 200:
                answer.read()
                raise NotReady(f"{url} says {answer.status_code}: {answer.text[:200]}")
            for piece in answer.iter_bytes():
                yield piece
                if wait := self._throttle.spend(len(piece)):
                    time.sleep(wait)


@contextmanager
def alone(folder: Path, tree: str) -> Iterator[None]:
    """Nobody else takes a snapshot of this tree in this folder; UsageError if somebody does."""
    with (folder / f".{tree}.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"somebody takes a snapshot of {tree} in {folder} now: wait for it"
            ) from None
        yield


def _written(file: Path, content: bytes | Iterator[bytes]) -> None:
    """The bytes are on the disk when this returns."""
    with file.open("wb") as opened:
        for piece in (content,) if isinstance(content, bytes) else content:
            opened.write(piece)
        opened.flush()
        os.fsync(opened.fileno())


def _synced(folder: Path) -> None:
    """And so are the names in a directory."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
