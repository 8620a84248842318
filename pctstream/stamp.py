"""Which layout a thing on disk has, and who wrote it: stamped, brought up to date, or refused.

A shard's store is refused where it is newer than this program, another tree's or another shard's: it may
hold what nobody here understands. An older one is upgraded step by step, each step and its stamp in one
WriteBatch, so that a crash in between repeats a step. What Faust keeps is a copy of its changelogs: where
its layout is another one, it is removed and read again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from pctstream import __version__
from pctstream.core.drawer import Change
from pctstream.errors import ConfigError
from pctstream.keyspace import STAMP, of_kind
from pctstream.kv import KV

SCHEMA = 2
"""Of a shard's store: its keys (`keyspace`) and what their values mean. Another one wants a step below."""
TABLES = 1
"""Of what Faust keeps of the tables (`tables`)."""
Step = Callable[[KV], list[Change]]
STEPS: Mapping[int, Step] = {0: lambda kv: [], 1: lambda kv: []}
"""What a store of that schema lacks of the next one. 0: those that were made before there were stamps.
1: those whose nodes did not re-open; record 0 of their tree says so, and what is new counts from now."""


def stamped(kv: KV, tree: str, shard: int, place: Path, steps: Mapping[int, Step] = STEPS) -> None:
    """See to it that a store is this shard's and of this schema; ConfigError with what to do if not."""
    raw = kv.get(of_kind(STAMP))
    found = _read(raw, place)
    schema, there = found.get("schema"), (found.get("tree", tree), found.get("shard", shard))
    if schema is None:
        schema = 0 if any(True for _ in kv.keys(b"")) else SCHEMA
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ConfigError(
            f"the store {place} has schema {schema}, written by pctstream {found.get('version')}; this is "
            f"{__version__} with schema {SCHEMA}: run that version, or move the store away and its rows "
            "are made again from the pipes"
        )
    if there != (tree, shard):
        raise ConfigError(
            f"the store {place} is shard {there[1]} of the tree {there[0]}, not shard {shard} of {tree}: "
            "name another --data-dir, or put the directories back"
        )
    if schema == SCHEMA and found.get("version") != __version__:
        kv.write([_stamp(SCHEMA, tree, shard)])
    while schema < SCHEMA:
        changes = steps[schema](kv)
        schema += 1
        kv.write([*changes, _stamp(schema, tree, shard)])
        os.write(2, f"pctstream: the store {place} was brought to schema {schema}\n".encode())


def _read(raw: bytes | None, place: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(
            f"the stamp of the store {place} cannot be read: move the store away and its rows are made "
            "again from the pipes"
        )
    return found


def _stamp(schema: int, tree: str, shard: int) -> Change:
    said = {"schema": schema, "version": __version__, "tree": tree, "shard": shard}
    return of_kind(STAMP), orjson.dumps(said)


def copied(folder: Path, schema: int = TABLES) -> None:
    """Make a directory of what can be read again; what is in it of another schema goes first."""
    file = folder / "schema"
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        # what was made before there were stamps is of the first
        found = file.read_text(encoding="utf-8").strip() if file.exists() else "1"
        if found == str(schema):
            return
        os.write(2, f"pctstream: {folder} has schema {found}, it is read again\n".encode())
        shutil.rmtree(folder)
        folder.mkdir()
    file.write_text(f"{schema}\n", encoding="utf-8")
