"""Centroids as pictures, read back from the terminal's escapes as a terminal would."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from pctstream import photographs
from pctstream.demo import tiles
from pctstream.demo.tiles import Tile
from pctstream.photographs import Bytes

TOKEN = re.compile(r"\x1b\[([\d;]*)m|(.)", re.DOTALL)
Colour = tuple[int, ...]


def cells(line: str) -> list[tuple[str, Colour | None, Colour | None]]:
    """Each character of a line with the colour it and what is behind it have."""
    out = []
    fore: Colour | None = None
    back: Colour | None = None
    for code, character in TOKEN.findall(line):
        if character:
            out.append((character, fore, back))
        elif code == "0":
            fore = back = None
        else:
            numbers = [int(n) for n in code.split(";")]
            assert (numbers[:2], numbers[5:7], len(numbers)) == ([38, 2], [48, 2], 10)
            fore, back = tuple(numbers[2:5]), tuple(numbers[7:])
    assert fore is back is None, "the line leaves its colour behind"
    return out


def random_tiles(count: int, seed: int = 0) -> list[Tile]:
    rng = np.random.default_rng(seed)
    pixels: Bytes = rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return [Tile(f"N0,{i}", (count - i) / 1000, pixels[i]) for i in range(count)]


@pytest.mark.parametrize(("columns", "across"), [(80, 4), (68, 4), (67, 3), (17, 1), (5, 1)])
def test_a_terminal_shows_every_pixel_and_the_weight_beside_it(columns: int, across: int) -> None:
    given = random_tiles(10)
    lines = [cells(line) for line in tiles.coloured(given, columns)]
    rows = -(-len(given) // across)
    assert len(lines) == 5 * rows and not any(lines[4::5])
    assert max(map(len, lines)) <= max(columns, 17)
    for number, tile in enumerate(given):
        top, left = 5 * (number // across), 17 * (number % across)
        for y in range(4):
            block = lines[top + y][left : left + 8]
            assert [c for c, _, _ in block] == ["▀"] * 8
            assert [list(fore or ()) for _, fore, _ in block] == tile.pixels[2 * y].tolist()
            assert [list(back or ()) for _, _, back in block] == tile.pixels[2 * y + 1].tolist()
        beside = ["".join(c for c, _, _ in line[left + 8 : left + 17]).strip()
                  for line in lines[top : top + 4]]  # fmt: skip
        assert beside == [tile.name, f"{tile.weight:.2%}", "", ""]


def test_text_has_no_escapes_and_says_the_mean_colour() -> None:
    black, orange = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    orange[:, :4] = (255, 128, 20)
    found = tiles.plain([Tile("N0,0", 0.5, black), Tile("N0,12", 0.25, orange)])
    assert found == [
        "   N0,0   50.00%  #000000  " + "#" * 40,
        "  N0,12   25.00%  #80400a  " + "#" * 20,
    ]
    assert tiles.plain([]) == tiles.coloured([], 80) == []


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("encoding", "env", "coloured"), [
    ("utf-8", {}, True),
    ("UTF8", {"NO_COLOR": "", "TERM": "xterm"}, True),
    ("utf-8", {"NO_COLOR": "1"}, False),
    ("utf-8", {"TERM": "dumb"}, False),
    ("iso-8859-1", {}, False),
])  # fmt: skip
def test_who_gets_colours(encoding: str, env: dict[str, str], coloured: bool) -> None:
    given = random_tiles(3)
    wanted = tiles.coloured(given, 80) if coloured else tiles.plain(given)
    assert tiles.shown(given, Terminal(io.BytesIO(), encoding=encoding), env, 80) == wanted
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert tiles.shown(given, file, env, 80) == tiles.plain(given)
    assert "\x1b" not in "".join(tiles.plain(given))


def test_the_centroid_of_one_patch_is_that_patch() -> None:
    image = np.random.default_rng(0).integers(0, 256, (11, 9, 3)).astype(np.uint8)
    vectors, x, y = photographs.patches(image)
    for vector, left, top in zip(vectors, x, y, strict=True):
        centroid = vector.astype(np.float32) * np.float32(1 / 255)
        wanted = image[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(photographs.pixels(centroid.tolist()), wanted)


def test_what_lies_outside_of_0_to_1_is_cut_off() -> None:
    found = photographs.pixels([0, 0.5, 1, 2, -1, 0.1, 0, 0, 0, 0, 0, 1], 2)
    assert found.tolist() == [[[0, 128, 255], [255, 0, 26]], [[0, 0, 0], [0, 0, 255]]]
