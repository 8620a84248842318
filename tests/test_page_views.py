"""What the page is made of and what it asks: its files and rules, the shape of a tree, the outlook."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from pctstream.core.chunks import chunks
from pctstream.core.cover import refine
from pctstream.core.density import Counters, Density
from pctstream.core.layout import PortionLoad, ShardRoom
from pctstream.core.names import ROOT, node_name, node_path
from pctstream.core.records import cover_records, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.core.situation import Situation
from pctstream.http import assets, outlook, problem
from pctstream.http.projection import Planes, shown
from pctstream.http.shape import shape
from pctstream.http.tree import TreeView

VENDORED = {"preact.js": "preact", "inter.woff2": "inter", "jetbrains-mono.woff2": "jetbrains-mono",
            "swagger-ui.js": "swagger-ui-dist", "swagger-ui.css": "swagger-ui-dist",
            "swagger-ui.LICENSES.txt": "swagger-ui-dist"}  # fmt: skip
LEAVES = 40


def got(path: str, **headers: str) -> httpx.Response:
    app = FastAPI()
    problem.add(app)
    assets.add(app)

    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(one())


def test_every_file_is_sent_with_the_rules_and_only_once() -> None:
    for path in ("/", *(f"/page/{name}" for name in assets.Assets().files)):
        answer = got(path)
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        rules = dict(r.split(" ", 1) for r in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'" and rules["frame-ancestors"] == "'none'"
        assert {rules[r] for r in ("script-src", "connect-src")} == {"'self'"}
        if path != "/page/docs.html":
            assert rules["style-src"] == "'self'"
            assert rules["require-trusted-types-for"] == "'script'"
        again = got(path, **{"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/../assets.py", "/page/%2e%2e/assets.py", "/page//etc/passwd",
                                  "/page/", "/page/nobody.js"])  # fmt: skip
def test_nothing_else_is_sent(path: str) -> None:
    answer = got(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_it_names_no_other_place_and_runs_nothing_inline() -> None:
    for name, (content, kind, _) in assets.Assets().files.items():
        if "/" in name or "text" not in kind:
            continue
        text = content.decode()
        assert re.findall(r"""["'(](?:https?:)?//[^"')]+""", text) == [], name
        assert not re.search(
            r"innerHTML|insertAdjacent|document\.write|\beval\(|new Function", text
        ), name
    page = assets.Assets().files["index.html"][0].decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page) == []


def test_all_that_a_file_imports_is_there() -> None:
    files = assets.Assets().files
    named = set(re.findall(r"(?:src|href)=\"/page/([^\"]+)\"", files["index.html"][0].decode()))
    for name, (content, _, _) in files.items():
        if name.endswith(".js"):
            named |= set(re.findall(r"from \"\./([^\"]+)\"", content.decode()))
    assert named <= set(files) and len(named) > 15


def test_what_is_of_others_has_its_licence_beside_it_and_is_locked() -> None:
    files = assets.Assets().files
    theirs = {n.removeprefix("vendor/") for n in files if n.startswith("vendor/")}
    assert theirs == {*VENDORED, *(f"{project}.LICENSE.txt" for project in VENDORED.values())}
    web = assets.FOLDER.parents[2] / "web"
    wanted = json.loads((web / "package.json").read_text("utf-8"))["dependencies"]
    locked = json.loads((web / "package-lock.json").read_text("utf-8"))["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def view() -> tuple[TreeView, Routing]:
    """N0, two portions; N0,1 has split into leaves of 1, 2, 3 .. rows."""
    log = Routing()
    prototypes = np.array([[0, 0], [10, 0]], np.float32)
    cover = refine(prototypes, prototypes, 1.0, 0, 1)
    log.fold(tree_record({"tree": "t", "shards": 8}, 2, "a"), 0, 0.0)
    records = [*cover_records(ROOT, cover, 1, "a")]
    records.append(split_record(ROOT, cover, {(0, 0): 3, (0, 1): 5}, 2, "a"))
    for i, record in enumerate(records):
        assert log.fold(record, i + 1, 0.0)
    inside = np.stack([np.full(LEAVES, 10.0), np.arange(LEAVES)], 1).astype(np.float32)
    own = refine(inside, inside, 1.0, 0, 1)
    rows = [LEAVES * (LEAVES + 1) // 2, *range(1, LEAVES + 1)]
    nodes = {
        "path": ["", *map(str, range(LEAVES))], "state": ["splitting", *["leaf"] * LEAVES],
        "rows": rows, "uncovered": [7, *[0] * LEAVES], "radius": [1.0] * (LEAVES + 1),
    }  # fmt: skip
    alone = {"path": [""], "state": ["covering"], "rows": [100], "uncovered": [0], "radius": [None]}
    portions = {"N0,0": {"portion": "N0,0", "rows": 100, "marks": [], "nodes": alone},
                "N0,1": {"portion": "N0,1", "rows": rows[0], "marks": [], "nodes": nodes}}  # fmt: skip
    return TreeView(log, {}, portions, {(0, 1): own}), log


def shard_of(log: Routing) -> Any:
    return lambda path: log.owners.get(path[: log.cut + 1])


def test_a_shape_has_the_largest_nodes_and_all_above_them() -> None:
    tree, log = view()
    whole = shape(tree, ROOT, 3, 1000, shard_of(log))
    assert {n["name"] for n in whole["nodes"]} == {node_name(p) for p in tree.paths}
    assert whole["left_out"] == 0
    told = {n["name"]: n for n in whole["nodes"]}
    assert (told["N0"]["rows"], told["N0,1"]["uncovered"]) == (920, 7)
    assert (told["N0,0"]["shard"], told["N0,1,9"]["shard"]) == (3, 5)
    assert told["N0,1"]["children"] == LEAVES
    some = shape(tree, ROOT, 3, 10, shard_of(log))
    assert len(some["nodes"]) == 10 and some["left_out"] == LEAVES + 3 - 10
    names = [n["name"] for n in some["nodes"]]
    assert names[:3] == ["N0", "N0,0", "N0,1"], "parents come first"
    assert set(names[3:]) == {f"N0,1,{i}" for i in range(LEAVES - 7, LEAVES)}
    below = shape(tree, node_path("N0,1"), 0, 10, shard_of(log))
    assert [n["name"] for n in below["nodes"]] == ["N0,1"]


def test_a_projection_keeps_its_plane_while_the_entries_stay() -> None:
    tree, log = view()
    planes = Planes()
    first = shown(tree, 2, 1000, planes, shard_of(log))
    assert (first["rows"], first["entries"], first["left_out"]["rows"]) == (920, LEAVES + 1, 0)
    assert (
        first["cover"][0]["node"] == "N0,0" and abs(sum(e["w"] for e in first["cover"]) - 1) < 1e-9
    )
    places = {e["node"]: e["at"] for e in first["cover"]}
    few = shown(tree, 2, 5, Planes(), shard_of(log))
    assert few == shown(tree, 2, 5, planes, shard_of(log))
    assert {e["node"]: e["at"] for e in few["cover"]} == {
        e["node"]: places[e["node"]] for e in first["cover"][:5]
    }
    assert few["left_out"] == {"entries": LEAVES - 4,
                               "rows": 920 - sum(e["rows"] for e in few["cover"])}  # fmt: skip
    assert shown(tree, 0, 5, planes, shard_of(log))["entries"] == 1


def density(name: str, rates: list[int]) -> list[dict[str, Any]]:
    series = Density(5.0)
    total = 0
    for i, rate in enumerate([0, *rates]):
        total += 5 * rate
        series.tell(5.0 * i, Counters(total, 0, 0.0, 0))
    return chunks(name, series, since=0)


def test_an_outlook_is_the_sum_over_what_a_shard_owns_now() -> None:
    def told(name: str, time: float, low: float) -> dict[str, Any]:
        ahead = [{"t": 400.0, "rows_s": low + 1, "low": low, "high": low + 4}]
        return {"portion": name, "time": time, "forecast": ahead}

    known = {"N0,0": density("N0,0", [2] * 75), "N0,1": density("N0,1", [3] * 75)}
    drift = {"N0,0": told("N0,0", 370.0, 10.0), "N0,1": told("N0,1", 370.0, 20.0),
             "N0,2": told("N0,2", 90.0, 1e6)}  # fmt: skip
    owned = {0: ["N0,0", "N0,1", "N0,2"], 1: []}
    both, nothing = outlook.outlook(owned, known, drift, 5.0, 60)
    assert len(both["past"]) == 60 and {p["rows_s"] for p in both["past"]} == {5.0}
    assert np.allclose(np.diff([p["t"] for p in both["past"]]), 5.0)
    assert both["forecast"] == [{"t": 400.0, "rows_s": 32.0, "low": 30.0, "high": 38.0}]
    assert both["without_forecast"] == ["N0,2"], "an old forecast is none"
    assert (nothing["past"], nothing["forecast"]) == ([], [])
    assert outlook.rates(known["N0,0"], 2.0, 60) == {}, "windows of another length"


def test_room_is_what_a_load_of_one_is() -> None:
    parts = tuple(PortionLoad((0, i), i % 2, 30.0, 30.0) for i in range(4))
    rooms = (ShardRoom(0, 1.0), ShardRoom(1, 3.0))
    now = Situation(7, parts, rooms, {}, 0.0)
    assert outlook.room(now) == {0: 30.0, 1: 90.0}
    loads = now.relative()
    assert loads == {s: 60.0 / r for s, r in outlook.room(now).items()}
    assert outlook.room(Situation(7, (), rooms, {}, 400.0)) == {}


PAIRS = [
    *((ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in ("ground", "surface")),
    ("ink", "raised"), ("ink-2", "raised"), ("accent", "surface"), ("accent", "accent-soft"),
    ("on-accent", "accent"), ("good", "good-soft"), ("warn", "warn-soft"), ("bad", "bad-soft"),
    ("bad", "surface"), ("u5-ink", "u5"), ("u-ink", "leaf"), *(("u-ink", f"u{i}") for i in range(5)),
]  # fmt: skip


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_words_can_be_read_in_both_themes() -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text, 3 to 1 for what stands for a shard."""
    css = assets.Assets().files["theme.css"][0].decode()
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colours = {name: pair for name, *pair in found}
    pairs = [(*pair, 4.5) for pair in PAIRS] + [(f"s{i}", "surface", 3.0) for i in range(8)]
    for ink, ground, least in pairs:
        for theme in (0, 1):
            dark, bright = sorted(luminance(colours[name][theme]) for name in (ink, ground))
            assert (bright + 0.05) / (dark + 0.05) >= least, (ink, ground, theme)
