"""What the tree agent writes between the rows of an input: fences and markers.

A **fence** lies in a portion's pipe, where two shards say what they hold (DESIGN 7). A **marker** lies in
the input of a node above the cut, in every partition of it: rows behind the first one that counts are
routed by its epoch (R4). It lies there, and nowhere else, because a row's child must follow from the row
and its place: a store, a list of places beside the log or a message of the control plane each come at
another moment to the worker that died, to its zombie and to who makes a lost store again.
"""

from __future__ import annotations

from contextlib import suppress

import orjson

from pctstream.core.names import Path, node_name, node_path
from pctstream.core.unit import Fence, Marker, Message
from pctstream.errors import PctError

FENCE, MARKER = "fence", "marker"
"""Their header `pct-type`."""


def fence_message(move: str, position: int) -> bytes:
    """What a fence says."""
    return orjson.dumps({"move": move, "position": position})


def fence(message: Message, rows: int) -> list[Fence]:
    """The fence that a message is; none where it cannot be read."""
    with suppress(ValueError, KeyError, TypeError):
        said = orjson.loads(message.value or b"")
        return [Fence(message.offset, rows, str(said["move"]), int(said["position"]))]
    return []


def marker_message(history: str, node: Path, epoch: int) -> bytes:
    """What a marker says: ``history`` is the author of record 0 of the `.routing` that has the epoch."""
    return orjson.dumps({"history": history, "node": node_name(node), "epoch": epoch})


def marker(message: Message, rows: int = 0) -> list[Marker]:
    """The marker that a message is, behind so many rows of its unit; none where it cannot be read.

    >>> said = marker_message("a1", (0,), 7)
    >>> marker(Message(41, None, said, pct_type=MARKER))
    [Marker(offset=41, rows=0, dead=0, history='a1', node=(0,), epoch=7)]
    """
    with suppress(ValueError, KeyError, TypeError, AttributeError, PctError):
        said = orjson.loads(message.value or b"")
        node = node_path(said["node"])
        return [Marker(message.offset, rows, 0, str(said["history"]), node, int(said["epoch"]))]
    return []
