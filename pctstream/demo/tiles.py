"""Centroids as pictures in a terminal, the weight beside each.

A character cell is about twice as high as wide, so it takes two pixels, one above the other: the
upper half block in the colour of one on the colour of the other (24-bit ANSI colours).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TextIO

from pctstream.photographs import Bytes

HALF = "\N{UPPER HALF BLOCK}"
RESET = "\x1b[0m"
LABEL = 8
"""Columns beside a tile: `N0,10` and `35.35%`, with a gap on either side."""
BAR = 40


class Tile(NamedTuple):
    """A centroid to be shown; ``pixels`` u8[h, w, 3], h even."""

    name: str
    weight: float
    pixels: Bytes


def shown(tiles: Sequence[Tile], out: TextIO, env: Mapping[str, str], columns: int) -> list[str]:
    """Lines for this stream: pictures if it can show them, else text."""
    return coloured(tiles, columns) if takes_colour(out, env) else plain(tiles)


def takes_colour(out: TextIO, env: Mapping[str, str]) -> bool:
    """Whether somebody looks at a terminal, has half blocks, and did not say no (no-color.org)."""
    if env.get("NO_COLOR") or env.get("TERM") == "dumb" or not out.isatty():
        return False
    return codecs.lookup(out.encoding or "ascii").name == "utf-8"


def coloured(tiles: Sequence[Tile], columns: int) -> list[str]:
    """As many tiles in a row as fit into the columns, and an empty line after each row."""
    if not tiles:
        return []
    width = tiles[0].pixels.shape[1] + 1 + LABEL
    across = max(1, columns // width)
    out = []
    for first in range(0, len(tiles), across):
        blocks = [_block(tile) for tile in tiles[first : first + across]]
        out += ["".join(parts).rstrip() for parts in zip(*blocks, strict=True)]
        out.append("")
    return out


def _block(tile: Tile) -> list[str]:
    labels = [tile.name, f"{tile.weight:.2%}"]
    lines = []
    for i in range(0, len(tile.pixels), 2):
        pairs = zip(tile.pixels[i].tolist(), tile.pixels[i + 1].tolist(), strict=True)
        cells = "".join(_cell(upper, lower) for upper, lower in pairs)
        label = labels[i // 2] if i // 2 < len(labels) else ""
        lines.append(f"{cells}{RESET} {label:<{LABEL}}")
    return lines


def _cell(upper: Sequence[int], lower: Sequence[int]) -> str:
    """Two pixels (r, g, b) in one character."""
    fore, back = (";".join(map(str, pixel)) for pixel in (upper, lower))
    return f"\x1b[38;2;{fore};48;2;{back}m{HALF}"


def plain(tiles: Sequence[Tile]) -> list[str]:
    """A line per tile: name, weight, a bar as long as it is heavy, the mean colour as #rrggbb."""
    most = max((tile.weight for tile in tiles), default=1.0) or 1.0
    lines = []
    for tile in tiles:
        bar = "#" * round(BAR * tile.weight / most)
        mean = tile.pixels.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
        colour = "".join(f"{value:02x}" for value in mean)
        lines.append(f"{tile.name:>7}  {tile.weight:7.2%}  #{colour}  {bar}".rstrip())
    return lines
