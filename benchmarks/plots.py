"""Draws what the benchmarks found (`figures.json`) as bars: `docs/pictures/bench-*.svg`.

A picture is groups of bars; each group has a scale of its own that begins at 0, and each bar its number, so
that nothing has to be read off. Ours are coloured. Colours follow the reader's light or dark page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from figures import read

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, LEFT, RIGHT, LINE, BAR, TOP, GAP = 720, 230, 120, 20, 14, 46, 34
STYLE = """
text{font:13px system-ui,sans-serif;fill:#333} .title{font-size:15px;font-weight:600}
.group{font-weight:600}
.ours{fill:#2b6cb0} .others{fill:#a0aec0}
@media(prefers-color-scheme:dark){text{fill:#ddd} .ours{fill:#63b3ed} .others{fill:#667}}
"""


class Bar(NamedTuple):
    name: str
    value: float
    ours: bool = False


Groups = dict[str, list[Bar]]


def picture(title: str, groups: Groups) -> str:
    """An SVG of these groups of bars."""
    lines, y = [f'<text class="title" x="8" y="22">{escape(title)}</text>'], TOP
    for group, bars in groups.items():
        lines.append(f'<text class="group" x="8" y="{y}">{escape(group)}</text>')
        y += 8
        most = max(bar.value for bar in bars) or 1.0
        for bar in bars:
            width = (WIDTH - LEFT - RIGHT) * bar.value / most
            kind = "ours" if bar.ours else "others"
            lines += [
                f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>',
                f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{BAR}"/>',
                f'<text x="{LEFT + width + 6:.1f}" y="{y + 12}">{number(bar.value)}</text>',
            ]
            y += LINE
        y += GAP - 8
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *lines, "</svg>",
    ]) + "\n"  # fmt: skip


def number(value: float) -> str:
    """Three digits that count."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


NAMES = {"floor-1": "plain loop", "floor-2": "two plain loops", "faust-1": "Faust, only counts",
         "fausted-1": "Faust, only counts", "uvloop-1": "Faust on uvloop, only counts",
         "uvloop-2": "two of them", "quix-1": "quix-streams, routes", "quix-2": "two of them",
         "bytewax-1": "bytewax, routes", "bytewax-2": "two of them", "system": "pctstream",
         "ours": "pctstream", "kmeans": "MiniBatchKMeans", "birch": "BIRCH",
         "dbstream": "river DBSTREAM"}  # fmt: skip


def bars(rates: dict[str, float]) -> list[Bar]:
    """By name, ours first."""
    own = ("ours", "system")
    order = sorted(rates, key=lambda name: name not in own)
    return [Bar(NAMES.get(name, name), rates[name], name in own) for name in order]


def stream(found: Any) -> Groups:
    return {one["kind"]: bars(one["median"]) for one in found if one["dimension"] == 128}


def summary(found: Any) -> Groups:
    return {f"{name.rpartition(' ')[0]}, {one['quality']['ours']['k']} centres":
            bars(one["rows_per_second"]) for name, one in found.items()}  # fmt: skip


def search(found: Any) -> Groups:
    groups = {}
    for kind, one in found.items():
        if one:
            ours, peers = one["ours"], one["peers"]
            groups[kind] = [
                Bar("pctstream, exact", ours["exact_batch"], True),
                Bar("faiss Flat", peers["flat_batch"]),
                Bar(f"pctstream, recall {one['recall']:.2f}", ours["approximate_batch"], True),
                Bar("faiss IVFFlat, recall 0.95", peers["ivf_batch"]),
            ]
    return groups


def scaling(found: Any) -> Groups:
    groups: Groups = {}
    for what, sizes in found.items():
        groups[f"{what}: rows/s"] = [
            Bar(f"{one[what]:,} {what}", one["system"]["rows_per_second"], True) for one in sizes
        ]
        groups[f"{what}: MB of the larger worker"] = [
            Bar(f"{one[what]:,} {what}", one["worker_mb"], True) for one in sizes
        ]
    return groups


PICTURES: dict[str, tuple[str, Callable[[Any], Groups]]] = {
    "end_to_end": ("Rows/s from the ingest topic to the store, 128 numbers a row", stream),
    "summaries": ("Rows/s summarised by one thread", summary),
    "search": ("Questions/s, k = 10, one thread, 1,000 at once", search),
    "scaling": ("As the tree gets more rows and more portions, 32 numbers a row", scaling),
}


def draw(every: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """The pictures of what is there."""
    drawn = []
    for name, (title, grouped) in PICTURES.items():
        if (kept := every.get(name)) and (groups := grouped(kept["found"])):
            file = folder / f"bench-{name}.svg"
            file.write_text(picture(title, groups), encoding="utf-8")
            drawn.append(file)
    return drawn


if __name__ == "__main__":
    for file in draw(read()):
        print(file.name)
    sys.exit(0)
