"""`pctstream compare URL`: two running trees side by side, level by level, from their HTTP views."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pctstream.commands.context import ask, configured, worker_urls
from pctstream.commands.solver import query_options, table
from pctstream.config import Config
from pctstream.core.comparison import asked_figures, level_figures, questions
from pctstream.errors import UsageError

NEAREST, DEADLINE_S = 10, 10.0
Ask = Callable[..., Any]


@click.command("compare")
@click.argument("other")
@click.option("--sample", type=click.IntRange(0, 1000), default=32, show_default=True,
              help="Questions that both are asked: centres of their deepest levels.")  # fmt: skip
@query_options
def compare_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, other: str,
    sample: int,
) -> None:  # fmt: skip
    """This tree beside the one whose worker is at OTHER: nodes, radius, evenness, what is missed, by level;
    what the same questions cost each."""
    cfg = configured(config_file, data_dir, need_broker=False)
    sides = [
        _asking(cfg, worker_urls(cfg, http), True), _asking(cfg, [other.rstrip("/")], False),
    ]  # fmt: skip
    trees = [one("/v1/tree") for one in sides]
    comparable(trees)
    levels = [_levels(one, tree) for one, tree in zip(sides, trees, strict=True)]
    asked = questions([covers[-1] for _, covers in levels], sample)
    costs = [asked_figures([_explained(one, q) for q in asked]) for one in sides]
    found = [
        {"name": tree["name"], "rows": tree["rows"], "state": tree["state"],
         "levels": [line._asdict() for line in lines], "search": cost._asdict()}
        for tree, (lines, _), cost in zip(trees, levels, costs, strict=True)
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"trees": found}))
        return
    click.echo("\n".join(_shown(found)))


def _asking(cfg: Config, urls: list[str], own: bool) -> Ask:
    return lambda path, body=None: ask(cfg, urls, path, body, DEADLINE_S, own)


def _explained(one: Ask, question: list[float]) -> Any:
    return one("/v1/search", {"vector": question, "k": NEAREST, "explain": True})["explain"]


def comparable(trees: list[dict[str, Any]]) -> None:
    for what in ("dimension", "metric"):
        if trees[0][what] != trees[1][what]:
            raise UsageError(
                f"{what} {trees[0][what]} here and {trees[1][what]} there: these trees are not of the "
                "same rows"
            )


def _levels(one: Ask, tree: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The figures of every level of a tree, and their covers."""
    found, covers = [], []
    above: list[dict[str, Any]] = []
    for level in [entry["level"] for entry in tree["levels"]]:
        cover = one(f"/v1/levels/{level}/cover")
        found.append(level_figures(cover, above))
        covers.append(cover)
        above = _nodes(one, level)
    return found, covers or [{"cover": []}]


def _nodes(one: Ask, level: int) -> list[dict[str, Any]]:
    nodes, cursor = [], "0"
    while cursor is not None:
        page = one(f"/v1/nodes?level={level}&cursor={cursor}")
        nodes += page["nodes"]
        cursor = page["next"]
    return nodes


def _shown(found: list[dict[str, Any]]) -> list[str]:
    lines = [f"{t['name']}: {t['rows']:,} rows, {t['state']}" for t in found]
    head = ("level", "tree", "entries", "epsilon", "radius", "mean radius", "even", "uncovered",
            "miss bound")  # fmt: skip
    rows = []
    for level in range(max(len(t["levels"]) for t in found)):
        for tree in found:
            if level < len(tree["levels"]):
                one = tree["levels"][level]
                rows.append((
                    str(level), tree["name"], f"{one['entries']:,}",
                    *(_number(one[name]) for name in ("epsilon", "radius", "mean_radius", "even")),
                    *(_share(one[name]) for name in ("uncovered", "miss_bound")),
                ))  # fmt: skip
    lines += table(head, rows)
    for tree in found:
        cost = tree["search"]
        if cost["questions"]:
            lines.append(
                f"{tree['name']}: {cost['questions']} questions for the {NEAREST} nearest rows: "
                f"{cost['rows_scanned']:,.0f} rows scanned and {cost['shards_asked']:.2f} shards asked each"
            )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
