"""What `pctstream status` says of a level."""

from __future__ import annotations

from typing import Any

from pctstream.commands.status import lines

LEVEL: dict[str, Any] = {
    "level": 1, "nodes": 31, "rows": 1200, "covering": 9, "waiting": 2, "splitting": 19, "sinks": 1,
    "leaves": 0, "epsilon": 3.25, "closed_by": "rows",
}  # fmt: skip
COUNTS = "1,200 rows held, 9 covering, 2 waiting, 19 splitting, 1 sinks, 0 leaves"


def said(**changes: Any) -> str:
    tree = {"name": "t", "rows": 5, "dimension": 3, "epoch": 1, "state": "growing", "stalled": [],
            "levels": [LEVEL | changes]}  # fmt: skip
    _, line = lines(tree, [])
    return line


def test_a_level_is_one_line() -> None:
    assert said() == f"  level 1: 31 nodes, {COUNTS}, epsilon 3.25, closed by rows"
    assert said(closed_by=None, epsilon=None).endswith("0 leaves, epsilon not known, open")


def test_leaves_neither_cover_nor_close() -> None:
    leaves = {"covering": 0, "waiting": 0, "splitting": 0, "sinks": 0, "leaves": 31}
    assert said(**leaves, epsilon=None, closed_by=None).endswith("0 sinks, 31 leaves")
