"""Faults of what lies on the disk. The worker is dead meanwhile: nobody can change a file under it."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from broker.system import wait_for
from chaos.fault import Fault, Void
from chaos.site import WORKERS, Site

from pctstream.core.names import node_path
from pctstream.rocks import RocksKV
from pctstream.store import Store

_TURN = itertools.count()


@contextmanager
def down(site: Site, kill: bool = True) -> Iterator[tuple[int, list[Path]]]:
    """A worker that is not running, and the directories of its shards' stores."""
    number = next(_TURN) % WORKERS
    shards = site.hosted(number)
    if kill:
        site.one.kill(number)
    else:
        site.end(number)
    yield number, [current(site, shard) for shard in shards]


def current(site: Site, shard: int) -> Path:
    folder = site.one.folder / "shards"
    return folder / (folder / f"{shard}.current").read_text().strip()


def read_through(site: Site) -> None:
    """Every shard from end to end; whoever ends by what it finds there is started again."""
    site.mend(120.0)
    for shard in site.shards():
        with suppress(httpx.HTTPError):
            httpx.get(f"{shard['url']}/v1/shards/{shard['shard']}/digest", timeout=60)
    site.mend(120.0)


def removed(site: Site) -> int:
    with down(site) as (number, stores):
        for store in stores:
            shutil.rmtree(store)
            store.with_name(f"{store.name.split('.')[0]}.current").unlink()
        shutil.rmtree(site.one.folder / "workers" / f"worker-{number}")
    return int(len(stores) > 0)


def torn(site: Site) -> int:
    """The end of the newest log file of each store is gone, as after a loss of power."""
    with down(site) as (_, stores):
        cut = 0
        for store in stores:
            logs = [f for f in store.glob("*.log") if f.stat().st_size]
            if logs:
                newest = max(logs)
                os.truncate(newest, newest.stat().st_size * 2 // 3)
                cut += 1
    return int(cut > 0)


def locked(site: Site) -> int:
    """Somebody else holds the lock: the shard is made again beside it."""
    with down(site) as (number, stores):
        store = stores[0]
        with (store / "LOCK").open("rb+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            site.one.start(number, ready=False)
            shard = int(store.name.split(".")[0])
            wait_for("another directory", lambda: current(site, shard) != store, 60.0)
            wait_for("it is ready", lambda: site.ready(number), 60.0)
    return 1


def with_filters(site: Site, change: str) -> int:
    words = "was unreadable and is made again"
    with down(site, kill=False) as (_, stores):
        before, changed = site.told(words), 0
        for folder in stores:
            store = Store(RocksKV(folder, 1 << 20))
            for name in store.nodes():
                if raw := store.bloom(node_path(name)):
                    at = len(raw) // 2
                    flipped = raw[:at] + bytes([raw[at] ^ 16]) + raw[at + 1 :]
                    store.keep_bloom(node_path(name), raw[:at] if change == "cut" else flipped)
                    changed += 1
            store.close()
    if not changed:
        raise Void("no filter was saved")
    site.mend(60.0)
    wait_for("they are made again", lambda: site.told(words) > before)
    for name in ("c1", "c777", f"c{site.flow.fed // 2 + 1}"):
        wait_for(f"{name} is found", lambda n=name: site.one.get(f"/v1/rows/{n}"))
    return 1


def flipped(site: Site, kind: str) -> int:
    """A byte in the middle of the largest file of that kind."""
    words = "is made again from its logs in"
    before = site.told(words)
    with down(site) as (_, stores):
        for folder in stores:
            kv = RocksKV(folder, 1 << 20)
            kv._db.flush()
            kv.close()
        files = [f for folder in stores for f in folder.glob(f"*.{kind}")]
        file = max(files, key=lambda f: f.stat().st_size)
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    read_through(site)
    return int(site.told(words) > before)


def full(site: Site) -> int:
    """No byte is left: who starts ends with words, and goes on when there is room."""
    if not site.disk.there:
        raise Void("no file system may be mounted here: be root")
    with down(site) as (number, _):
        before = site.told("No space left")
    site.disk.fill()
    try:
        site.one.start(number, ready=False)
        code = site.one.died(number)
    finally:
        site.disk.free()
    return int(code == 1 and site.told("No space left") > before)


FAULTS = [
    Fault("data directory removed", "a shard follows from its logs", "kill -9, then the stores of all "
          "its shards and Faust's tables are deleted", removed, deep=True, ready_s=60),
    Fault("torn write-ahead log", "a store goes back to an earlier moment and reads on from there",
          "kill -9, then the last third of the log of each store is cut off", torn, deep=True),
    Fault("stale LOCK", "who finds a store locked waits a session timeout, then makes the shard again "
          "beside it", "kill -9, another process holds the lock", locked, deep=True, ready_s=60),
    Fault("truncated Bloom filter", "it denies nothing until it is made again", "half of each saved "
          "filter of a worker is cut off", lambda site: with_filters(site, "cut")),
    Fault("flipped Bloom filter", "the same", "a bit in the middle of each saved filter of a worker",
          lambda site: with_filters(site, "flip")),
    Fault("flipped byte in an SST", "a damaged store is never read on: the shard is made again from "
          "its logs", "one bit in the middle of the largest SST", lambda site: flipped(site, "sst"),
          deep=True, ready_s=60),
    Fault("flipped byte in a blob file", "the same", "one bit in the middle of the largest blob file",
          lambda site: flipped(site, "blob"), deep=True, ready_s=60),
    Fault("full disk", "the worker ends with words, nothing is skipped; with room again it goes on",
          "kill -9, the file system of the stores is filled to the last byte, it starts, then there "
          "is room again", full),
]  # fmt: skip
