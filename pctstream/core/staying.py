"""Why a portion whose drift score is above the threshold stays where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pctstream.core.layout import Int64, Layout
from pctstream.core.names import Path, node_name


@dataclass(frozen=True, slots=True)
class Stay:
    """A portion that does not move, and why."""

    portion: Path
    why: str
    heavy: bool = False
    """Too heavy for every shard: no move helps."""

    def to_json(self) -> dict[str, str]:
        return {"portion": node_name(self.portion), "why": self.why}


def stays(
    layout: Layout, places: Int64, threshold: float, held: Mapping[Path, str], refused: str = "",
    enough: float = 0.0,
) -> tuple[Stay, ...]:  # fmt: skip
    """One for each portion above the threshold that the assignment leaves alone, by path.

    held: why those stay that were not to be moved; refused: why the whole plan was given up; enough: a
    relative load that needs no improving.
    """
    return tuple(
        _stay(layout, places, p, held, refused, enough)
        for p, part in enumerate(layout.portions)
        if part.score > threshold and places[p] == layout.owner[p]
    )


def _stay(
    layout: Layout, places: Int64, p: int, held: Mapping[Path, str], refused: str, enough: float
) -> Stay:
    path = layout.portions[p].path
    if path in held:
        return Stay(path, held[path])
    alone = float((layout.load[p] / layout.share[layout.allowed[p]]).min(initial=np.inf))
    if max(1.0, enough) < alone < np.inf and layout.allowed[p].sum() > 1:
        why = (f"it alone is {alone:.2f} of the share of any shard, so no move helps: promoted, its "
               f"children are placed apart (`pctstream moves promote {node_name(path)}`)")  # fmt: skip
        return Stay(path, refused or why, heavy=True)
    return Stay(path, refused or _why(layout, places, p))


def _why(layout: Layout, places: Int64, p: int) -> str:
    home = int(layout.owner[p])
    shard = layout.shards[home].shard
    others = layout.allowed[p].copy()
    others[home] = False
    if not others.any():
        return "no other shard takes portions"
    before, after = layout.relative(layout.owner), layout.relative(places)
    gone = np.flatnonzero((layout.owner == home) & (places != home))
    if gone.size:
        went = [node_name(layout.portions[q].path) for q in gone]
        shown = " ".join(went[:3]) + (" .." if len(went) > 3 else "")
        cheaper = layout.cost[gone].sum() < layout.cost[p]
        ending = ", which takes fewer bytes" if cheaper else ", and that does"
        return (f"its shard {shard} falls from {before[home]:.2f} to {after[home]:.2f} of its "
                f"share by moving {shown}{ending}")  # fmt: skip
    there = np.where(others, after + layout.load[p] / layout.share, np.inf)
    best = int(np.argmin(there))
    if there[best] >= after.max():
        return (f"its shard {shard} has {after[home]:.2f} of its share after the plan; with it on "
                f"shard {layout.shards[best].shard}, the best other one, that would have "
                f"{there[best]:.2f}, no less than the maximum")  # fmt: skip
    if after[home] < after.max():
        return (f"its shard {shard} has {after[home]:.2f} of its share, the maximum is "
                f"{after.max():.2f} elsewhere")  # fmt: skip
    return (f"its shard {shard} has {after[home]:.2f} of its share, within what the plan aims at: "
            f"moving it costs bytes and is not needed")  # fmt: skip
