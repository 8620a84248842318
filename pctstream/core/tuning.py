"""Limits of the spatial index that are changed while rows flow: who changed what, and what is in force.

A change is an order (`core.orders`), so every worker takes it at the same place of the same log, and
whoever begins later has it too. It says what is to be different from the file (`set`; None: as in the
file again) and what the file says where it was asked for (`base`). Every reader judges it together with
what the log said before, so that two changes at a time cannot make an impossible pair of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pctstream.core.granularity import Granularity
from pctstream.errors import QueryRefused

LIVE = (
    "pattern", "neighbors", "split_rows", "merge_rows", "min_size", "max_size", "max_depth",
    "max_regions", "query_weight", "query_half_life_s", "interval_s", "change_rows",
    "change_fraction", "slice_rows", "cost", "budget_per_min",
)  # fmt: skip
"""The settings of `[spatial]` that take effect at the next adjustment; the others at a start."""
KEPT = 200
PACE = frozenset({"interval_s", "change_rows", "change_fraction"})


class Tuning:
    """What was changed.

    >>> tuning, base = Tuning(), {"split_rows": 5000, "merge_rows": 1000}
    >>> tuning.take(7, {"set": {"split_rows": 4000}, "base": base}, 1.0)
    >>> tuning.take(8, {"set": {"merge_rows": 2000}, "base": base}, 2.0)
    Traceback (most recent call last):
    pctstream.errors.ConfigError: split_rows = 4000 must be more than twice merge_rows = 2000, or ...
    >>> tuning.changes, tuning.version
    ({'split_rows': 4000}, 7)
    """

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        """What differs from the file."""
        self.version = -1
        """The record that changed it last."""
        self.history: list[dict[str, Any]] = []

    def merged(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What would differ from the file; a PctError that names the values where they cannot be."""
        changes = self.changes | order["set"]
        if strange := sorted(set(changes) - set(LIVE)):
            raise QueryRefused(f"{strange[0]} cannot be changed live, only {', '.join(LIVE)}")
        changes = {name: value for name, value in changes.items() if value is not None}
        every = {k: v for k, v in {**order["base"], **changes}.items() if k in LIVE}
        Granularity(**{name: value for name, value in every.items() if name not in PACE})
        return changes

    def take(self, seq: int, order: Mapping[str, Any], time_s: float) -> None:
        """The record of a change; it raises and changes nothing where `merged` does."""
        changes = self.merged(order)
        before = {name: self.changes.get(name) for name in order["set"]}
        self.changes, self.version = changes, seq
        self.history.append(
            {"seq": seq, "time": time_s, "set": dict(order["set"]), "before": before,
             "reason": str(order.get("reason", ""))}
        )  # fmt: skip
        del self.history[:-KEPT]
