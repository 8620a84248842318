"""From the messages of a log to a unit of validated rows (CONTRACT: Rows on the ingest topic).

A refused row becomes a dead letter, its good neighbours go on. What lies in a pipe was validated
when it was written: there a message is a block of ours, or it is a dead letter as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from pctstream.core import formats, kernels
from pctstream.core.block import ARROW, Block, Origin, Source, concat, encode, read_batch
from pctstream.core.block import decode as decode_block
from pctstream.core.bridge import runs
from pctstream.core.formats import FLOAT32, JSON, SHORT, sniff
from pctstream.core.unit import DeadLetter, Message, Unit
from pctstream.errors import RowRefused

ROW_BYTES = 900_000


def decode(
    source: Source,
    messages: Sequence[Message],
    prev: int,
    last: int,
    dimension: int,
    metric: str,
    assumed: str = "auto",
    row_bytes: int = ROW_BYTES,
) -> Unit:
    """One unit from consecutive messages of the ingest partition ``source``.

    ``dimension`` is what the tree has, ``metric`` "euclidean" or "cosine" (rows are normalised),
    ``assumed`` the format where a message does not say, ``row_bytes`` the content bytes that a row
    may have and still fit into a message of its child's pipe.
    """
    good: list[Block] = []
    dead: list[DeadLetter] = []
    for home, some in runs(source, messages):
        blocks, refused = _read(home, some, dimension, assumed)
        dead.extend(refused)
        keys = {m.offset: m.key for m in some}
        for block in blocks:
            kept, refused = validate(block, metric, keys, row_bytes)
            dead.extend(refused)
            if len(kept):
                good.append(kept)
    time_ms = messages[-1].time_ms if messages else 0
    return Unit(source, prev, last, concat(good) if good else None, tuple(dead), time_ms)


def _read(
    source: Source, messages: Sequence[Message], dimension: int, assumed: str
) -> tuple[list[Block], list[DeadLetter]]:
    """Messages of one partition as blocks, and those that cannot be read."""
    blocks: list[Block] = []
    dead: list[DeadLetter] = []
    plain: list[tuple[Message, str | None]] = []

    def flush() -> None:
        if plain:
            blocks.append(formats.float32_rows(source, plain, dimension))
            plain.clear()

    for message in messages:
        if message.pct_type is not None:
            continue
        try:
            if message.origin is not None:
                raise RowRefused("schema", f"{message.origin!r} is no place in another topic")
            kind = _kind(message, dimension, assumed)
            if kind == FLOAT32 and len(message.value or b"") == 4 * dimension:
                plain.append((message, formats.text(message.key)))
                continue
            flush()
            blocks.append(formats.read(kind, source, message, dimension))
        except RowRefused as refused:
            dead.append(_whole(source, message, refused))
    flush()
    return blocks, dead


def _kind(message: Message, dimension: int, assumed: str) -> str:
    if message.value is None:
        raise RowRefused("schema", "a null value deletes an id; deletes are not taken yet")
    if message.content_type is None and assumed != "auto":
        return SHORT[assumed]
    return sniff(message, dimension)


def validate(
    block: Block, metric: str, keys: dict[int, bytes | None], row_bytes: int = ROW_BYTES
) -> tuple[Block, list[DeadLetter]]:
    """The rows that may enter the tree (normalised under cosine), and the rest as dead letters."""
    norms = kernels.norms(block.vectors)
    large = block.row_sizes() > row_bytes
    finite = kernels.finite(block.vectors) & ~large
    limit = float(np.finfo(np.float32).max)
    fits = np.where(finite, norms, 0.0) ** 2 < limit
    checks: list[tuple[str, str, Any]] = [
        ("too-large", f"the row has more than {row_bytes} bytes (blocks.row_bytes)", large),
        ("not-finite", "the vector has a NaN or an infinity", ~finite & ~large),
        ("norm", "the squared norm overflows float32: scale the vectors down", finite & ~fits),
    ]
    if metric == "cosine":
        checks.append(("zero-vector", "a zero vector has no direction", finite & (norms == 0.0)))
    bad = np.zeros(len(block), np.bool_)
    dead: list[DeadLetter] = []
    for code, why, mask in checks:
        for row in np.flatnonzero(mask):
            dead.append(_one_row(block.slice(int(row), int(row) + 1), code, why, keys))
        bad |= mask
    good = block.keep(~bad)
    if metric == "cosine" and len(good):
        good = Block(
            good.sources, good.source, good.offset, good.index, kernels.normalise(good.vectors),
            good.ids, good.times, good.payloads,
        )  # fmt: skip
    return good, dead


def _one_row(row: Block, code: str, why: str, keys: dict[int, bytes | None]) -> DeadLetter:
    origin = row.origins()[0]
    # a row too large for a pipe may be too large for the dead-letter topic: its origin finds it
    value = None if code == "too-large" else encode(row)
    return DeadLetter(origin, code, why, keys.get(origin.offset), value)


def _whole(source: Source, message: Message, refused: RowRefused) -> DeadLetter:
    origin = Origin(source.topic, source.partition, message.offset, 0)
    return DeadLetter(
        origin, refused.code, str(refused), message.key, message.value, time_ms=message.time_ms
    )


def decode_pipe(
    source: Source, messages: Sequence[Message], prev: int, last: int, dimension: int = 0
) -> Unit:
    """One unit from consecutive messages of the pipe ``source``, blocks that a shard wrote.

    A message that is no block (of ``dimension``; 0: that of the first) is a dead letter of stage
    "pipe" under its place in the pipe.
    """
    blocks: list[Block] = []
    dead: list[DeadLetter] = []
    for message in messages:
        if message.pct_type is not None:
            continue
        try:
            block = decode_block(message.value or b"")
            dimension = dimension or block.dimension
            if block.dimension != dimension:
                raise RowRefused("decode", f"a block of {block.dimension} instead of {dimension}")
        except RowRefused as refused:
            dead.append(_unreadable(source, message, refused))
            continue
        if len(block):
            blocks.append(block)
    time_ms = messages[-1].time_ms if messages else 0
    return Unit(source, prev, last, concat(blocks) if blocks else None, tuple(dead), time_ms)


def _unreadable(source: Source, message: Message, refused: RowRefused) -> DeadLetter:
    origin = Origin(source.topic, source.partition, message.offset, 0)
    return DeadLetter(
        origin, "decode", str(refused), message.key, message.value, "pipe", message.time_ms
    )


def majority_dimension(messages: Sequence[Message], rows: int = 100) -> int:
    """The dimension most of the first ``rows`` rows have; 0 if none of them shows one.

    JSON and Arrow rows carry theirs; raw float32 rows have length / 4. Ties go to the dimension
    seen first.
    """
    votes: dict[int, int] = {}
    seen = 0
    for message in messages:
        if seen >= rows or message.value is None or message.pct_type is not None:
            continue
        width, count = _shape(message)
        count = min(count, rows - seen)
        seen += count
        if width > 0:
            votes[width] = votes.get(width, 0) + count
    return max(votes, key=lambda d: votes[d]) if votes else 0


def rows_shown(message: Message) -> int:
    """Rows that a message has, as far as it can be read."""
    return _shape(message)[1] if message.value is not None and message.pct_type is None else 0


def _shape(message: Message) -> tuple[int, int]:
    """(dimension, rows) that a message shows; (0, 1) for one that cannot be read."""
    value = message.value or b""
    try:
        kind = sniff(message, 0)
        if kind == ARROW:
            batch = read_batch(value)
            return int(batch["vector"].type.list_size), int(batch.num_rows)
        if kind == JSON:
            fields = orjson.loads(value)
            return len(next(fields[k] for k in ("vector", "embedding", "values") if k in fields)), 1
    except (RowRefused, KeyError, AttributeError, StopIteration, TypeError, ValueError):
        return 0, 1
    return len(value) // 4, 1
