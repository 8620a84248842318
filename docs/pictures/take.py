"""Takes the README's pictures of the page: PYTHONPATH=tests python docs/pictures/take.py URL [ID of a row].

Of a system that runs, best while a portion moves (`moves.bytes_per_s` small), with `spatial.enabled`. Each
picture must stay below 300 kB.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from browser import Browser
from PIL import Image

HERE = Path(__file__).parent
WIDE, NARROW = (1280, 860), (390, 844)
VIEWS = ("moves", "tree", "cover/2", "shards", "map")
ASKED_S = 30.0
"""The first search lays a shard's rows out."""
MOST = 300_000
DRAWN_S = 20.0


def kept(picture: Path, name: str) -> None:
    """Put a screenshot beside this file."""
    Image.open(picture).convert("RGB").save(HERE / name, optimize=True)
    assert (HERE / name).stat().st_size < MOST, name


def main(url: str, row: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        profile, shot = Path(folder) / "profile", Path(folder) / "shot.png"
        profile.mkdir()
        with Browser(profile) as browser:
            page = browser.open(f"{url}/")
            page.wait("document.querySelector('.pill.good')")
            for view in (*VIEWS, *([f"search/{quote(row, safe='')}"] if row else [])):
                page.go(view)
                page.wait("document.querySelector('main .card .body').childElementCount", DRAWN_S)
                if view.startswith("search"):
                    page.wait("document.querySelector('[data-of=distance]')", ASKED_S)
                for size, kind in ((WIDE, ""), (NARROW, "-narrow")):
                    for theme in ("light", "dark"):
                        page.look(*size, theme)
                        page.js("new Promise(done => setTimeout(done, 300))")
                        page.picture(shot)
                        kept(shot, f"page-{view.partition('/')[0]}{kind}-{theme}.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
