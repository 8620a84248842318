"""How fine regions are to be: the part of `[spatial]` that adjusting heeds, checked.

Between `merge_rows` and `split_rows` nothing happens. Two regions are joined only if each counts less
than `merge_rows`, so together they have less than twice that; as `split_rows` is more, what was just
joined does not split, and what was just split is not below `merge_rows` as a whole.

Queries make rows count more: in a region with q queries that had to look at its rows, where the mean
region has m, each row counts 1 + query_weight * q / (q + m + 1) times. So regions that are asked often
are finer, by a bounded factor, wherever the queries go; counts halve every `query_half_life_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pctstream.core.kernels import Float64
from pctstream.errors import ConfigError

COST = {"reindexed_row": 1.0, "region": 100.0, "second": 1e6}


@dataclass(frozen=True, slots=True)
class Granularity:
    """Units: rows, units of x and y, seconds, cost; see `pctstream config` for each.

    ConfigError where two values exclude each other, naming both.

    >>> Granularity(split_rows=2000, merge_rows=1000)
    Traceback (most recent call last):
    pctstream.errors.ConfigError: split_rows = 2000 must be more than twice merge_rows = 1000, or ...
    """

    pattern: Literal["quadtree", "kdtree"] = "quadtree"
    neighbors: str = "proximity"
    split_rows: int = 5000
    merge_rows: int = 1000
    min_size: float = 0.0
    max_size: float = 0.0
    max_depth: int = 48
    max_regions: int = 65_536
    query_weight: float = 15.0
    query_half_life_s: float = 30.0
    slice_rows: int = 8192
    cost: Mapping[str, float] = field(default_factory=COST.copy)
    budget_per_min: float = 1e6

    def __post_init__(self) -> None:
        if self.split_rows <= 2 * self.merge_rows:
            raise ConfigError(
                f"split_rows = {self.split_rows} must be more than twice merge_rows = "
                f"{self.merge_rows}, or regions would split and merge for ever"
            )
        if 0.0 < self.max_size < 2.0 * self.min_size:
            raise ConfigError(
                f"max_size = {self.max_size} must be at least twice min_size = {self.min_size} (or "
                "0: no limit), or a region would have no size that is allowed"
            )

    @classmethod
    def of(cls, settings: Any) -> Granularity:
        """From whatever has attributes of these names, as the section of the configuration has."""
        return cls(**{part.name: getattr(settings, part.name) for part in fields(cls)})

    def factor(self, queries: Float64) -> Float64:
        """How many times each row of regions with so many queries counts, f64[n]."""
        mean = float(queries.mean()) if len(queries) else 0.0
        counted: Float64 = 1.0 + self.query_weight * queries / (queries + mean + 1.0)
        return counted
