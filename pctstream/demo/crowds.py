"""Where rows crowd, by the spatial index: the map as text, and how large regions are there."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from pctstream.demo.telling import say, title
from pctstream.running import Running

SETTINGS = {
    "PCT_SPATIAL__ENABLED": "true",
    "PCT_SPATIAL__X": "x",
    "PCT_SPATIAL__Y": "y",
    "PCT_SPATIAL__SPLIT_ROWS": "1000",
    "PCT_SPATIAL__MERGE_ROWS": "300",
    "PCT_SPATIAL__INTERVAL_S": "2",
}
WIDTH, HEIGHT = 64, 16
SHADES = " .:-=+*#%@"
WHOLE_S = 30.0


def crowds(system: Running, total: int) -> list[str]:
    """Show the map and the regions; what is wrong with them."""
    title("where the patches lie: the density map, and regions that are fine where rows crowd")
    said = _whole(system, total)
    counts = np.array(said.get("counts", [[0]]), np.int64)
    if counts.sum() != total:
        return [f"the density map has {counts.sum():,} rows, {total:,} were fed"]
    for line in drawn(counts):
        say(f"  |{line}|")
    x0, y0, x1, y1 = said["bounds"]
    say(
        f"  x from {x0:g} to {x1:g}, y from {y0:g} (below) to {y1:g}; each shard has its part of it:"
    )
    page = system.ask("/v1/spatial/regions") or {"regions": []}
    regions = page["regions"]
    while page.get("next"):
        page = system.ask(f"/v1/spatial/regions?cursor={page['next']}") or {"regions": []}
        regions += page["regions"]
    faults = []
    for shard in sorted({r["shard"] for r in regions}):
        faults += _told(shard, [r for r in regions if r["shard"] == shard])
    say(f"as a picture, while it runs: {system.urls[0]}/v1/spatial/density?format=png")
    if sum(r["rows"] for r in regions) != total:
        faults.append("the regions do not have each row once")
    return faults


def _whole(system: Running, total: int) -> dict[str, Any]:
    """The map, once every shard has told all of its rows."""
    until = time.monotonic() + WHOLE_S
    while True:
        said: dict[str, Any] = system.ask("/v1/spatial/density?cells=64,16") or {}
        if (said.get("rows") == total and not said["partial"]) or time.monotonic() > until:
            return said
        time.sleep(0.2)


def drawn(counts: Any) -> list[str]:
    """A map i64[nx, ny] as lines, y upwards.

    >>> drawn(np.array([[0, 9], [3, 1]]))
    ['@.', ' -']
    """
    most = max(int(counts.max()), 1)
    last = len(SHADES) - 1
    return [
        "".join(SHADES[-(-int(n) * last // most)] for n in line) for line in counts.T[::-1].tolist()
    ]


def _told(shard: int, regions: list[dict[str, Any]]) -> list[str]:
    """A line of one shard's regions: those in the denser half of its rows, and the others."""
    boxes, rows = np.array([r["box"] for r in regions]), np.array([r["rows"] for r in regions])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-rows / areas, kind="stable")
    dense = order[np.cumsum(rows[order]) <= max(rows.sum() / 2, rows[order[0]])]
    sparse = np.setdiff1d(order, dense)
    depths = {r["depth"] for r in regions}
    if not len(sparse):
        say(f"  shard {shard}: {len(regions)} regions, {rows.sum():,} rows")
        return []
    small, large = float(np.mean(areas[dense])), float(np.mean(areas[sparse]))
    say(f"  shard {shard}: {rows.sum():>7,} rows in {len(regions):>3} regions of {len(depths)} depths; the "
        f"denser half of the rows lies in regions of {small:,.0f} on average, the rest in {large:,.0f}")  # fmt: skip # noqa: E501
    wrong = f"shard {shard}: regions are not finer where rows crowd ({small:.0f}, {large:.0f})"
    return [] if small <= large else [wrong]
