"""The dimension that rows show before a tree has one: what the majority has, it has (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from pctstream.core import batches, formats, objects
from pctstream.core.block import ARROW
from pctstream.core.ingest import ROW_BYTES
from pctstream.core.unit import Message


def widths(message: Message, row_bytes: int = ROW_BYTES) -> list[int]:
    """The dimension that each row of a message shows, of those that show one that fits.

    JSON and Arrow rows carry theirs; raw float32 rows have length / 4.
    """
    if message.value is None or message.pct_type is not None:
        return []
    try:
        kind, said = formats.recognise(message, 0)
        if kind == ARROW:
            shown = batches.widths(message.value)
        elif said is not None:
            shown = [len(objects.vector_of(said) or ())]
        else:
            shown = [len(message.value) // 4]
    except MemoryError:
        raise
    except Exception:  # whatever is wrong with it, `decode` says it
        return []
    return [width for width in shown if 0 < 4 * width <= row_bytes]


def majority(shown: Sequence[int]) -> int:
    """The dimension that most rows have, 0 without any; of equals the one seen first.

    >>> majority([3, 2, 2, 3, 7])
    3
    """
    votes: dict[int, int] = {}
    for width in shown:
        votes[width] = votes.get(width, 0) + 1
    return max(votes, key=lambda width: votes[width]) if votes else 0
