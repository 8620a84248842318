"""`pctstream moves ...`: where portions are to be, by hand; why they are where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pctstream.commands.context import ask, configured, worker_urls
from pctstream.commands.explained import (
    decision_lines,
    move_line,
    move_lines,
    plan_line,
    plan_lines,
)
from pctstream.commands.solver import query_options
from pctstream.errors import NotFound

ORDER_S = 15.0
"""An order waits at the worker for its record."""

Lines = Callable[[Any], list[str]]


@click.group("moves")
def moves_command() -> None:
    """Plans and moves of portions between shards."""


def told(
    where: tuple[Path | None, Path | None, str | None, bool], path: str, lines: Lines,
    body: object = None,
) -> None:  # fmt: skip
    """Ask a worker and print its answer, for people or as JSON."""
    config_file, data_dir, http, as_json = where
    cfg = configured(config_file, data_dir, need_broker=False)
    found = ask(cfg, worker_urls(cfg, http), path, body, ORDER_S)
    click.echo(json.dumps(found) if as_json else "\n".join(lines(found)))


@moves_command.command("plan")
@click.option("--reason", default="", help="Kept with the plan.")
@click.option("--apply", is_flag=True, help="And begin its moves at once.")
@query_options
def plan_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, reason: str,
    apply: bool,
) -> None:  # fmt: skip
    """Make a plan for the least maximum load; nothing moves before it is applied."""
    asked = {"dry_run": not apply, "reason": reason}
    told((config_file, data_dir, http, as_json), "/v1/plans", plan_lines, asked)


@moves_command.command("apply")
@click.argument("plan")
@query_options
def apply_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, plan: str
) -> None:
    """Begin the moves of a PLAN, unless portions changed their owners since it was made."""
    told((config_file, data_dir, http, as_json), f"/v1/plans/{plan}/apply", plan_lines, {})


@moves_command.command("start")
@click.argument("portion")
@click.argument("shard", type=int)
@click.option("--until", default="", help="Pause at this stage: COPYING, SHADOWING, VERIFYING.")
@click.option("--reason", default="", help="Kept with the move.")
@query_options
def start_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, portion: str,
    shard: int, until: str, reason: str,
) -> None:  # fmt: skip
    """Move a PORTION (N0,3) to a SHARD."""
    asked = {"portion": portion, "to": shard, "until": until, "reason": reason}
    told((config_file, data_dir, http, as_json), "/v1/moves", lambda m: [move_line(m)], asked)


@moves_command.command("list")
@click.option("--stage", default=None, help="Only those: PLANNED, COPYING, .., DONE, ABORTED.")
@query_options
def list_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool,
    stage: str | None,
) -> None:  # fmt: skip
    """The moves so far, and the plans that are kept."""
    cfg = configured(config_file, data_dir, need_broker=False)
    urls = worker_urls(cfg, http)
    moves: list[Any] = []
    cursor = ""
    while cursor is not None:
        wanted = f"&stage={stage}" if stage else ""
        page = ask(cfg, urls, f"/v1/moves?cursor={cursor}{wanted}")
        moves, cursor = moves + page["moves"], page["next"]
    plans = ask(cfg, urls, "/v1/plans")
    if as_json:
        click.echo(json.dumps({"moves": moves, "plans": plans["plans"]}))
        return
    lines = [*map(move_line, moves), *map(plan_line, plans["plans"])]
    click.echo("\n".join(lines or ["nothing has moved, and no plan was made"]))


@moves_command.command("explain")
@click.argument("name")
@query_options
def explain_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, name: str
) -> None:
    """Why a plan was made (p12), or not (d12), or a portion moved (m12): NAME as `list` shows it."""
    where = (config_file, data_dir, http, as_json)
    cfg = configured(config_file, data_dir, need_broker=False)
    urls = worker_urls(cfg, http)
    if name.startswith("d"):
        decisions = ask(cfg, urls, "/v1/plans")["decisions"]
        found = next((d for d in decisions if d["id"] == name), None)
        if found is None:
            raise NotFound(f"no decision {name!r} is kept: `GET /v1/plans` lists them")
        click.echo(json.dumps(found) if as_json else "\n".join(decision_lines(found)))
    elif name.startswith("m"):
        move = ask(cfg, urls, f"/v1/moves/{name}")
        plan = None
        if move["plan"]:
            try:
                plan = ask(cfg, urls, f"/v1/plans/{move['plan']}")
            except NotFound:  # so old that it is not kept any more
                plan = None
        shown = move | {"plan_made": plan}
        lines = [*move_lines(move), *(plan_lines(plan) if plan else ())]
        click.echo(json.dumps(shown) if as_json else "\n".join(lines))
    else:
        told(where, f"/v1/plans/{name}", plan_lines)


def change(word: str, of: str, text: str) -> click.Command:
    """A command that changes one thing: `/v1/<of>/NAME/<word>`."""

    @click.command(word, help=text)
    @click.argument("name")
    @query_options
    def command(
        config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, name: str
    ) -> None:
        def lines(found: Any) -> list[str]:
            return [move_line(found)] if of == "moves" else [f"{of[:-1]} {name}: {word} done"]

        told((config_file, data_dir, http, as_json), f"/v1/{of}/{name}/{word}", lines, {})

    return command


for word, of, text in (
    ("pause", "moves", "Let a move stand still where it is."),
    ("resume", "moves", "Let a paused move go on."),
    ("cancel", "moves", "Call a move off: its target drops what it has."),
    ("pin", "portions", "Keep a portion where it is, whatever a plan would gain."),
    ("unpin", "portions", "Let plans move a portion again."),
    ("promote", "portions", "Make a portion's children portions: it is too heavy for any shard."),
    ("drain", "shards", "Move everything off a shard; it takes nothing more."),
    ("undrain", "shards", "Let a shard take portions again."),
):
    moves_command.add_command(change(word, of, text))
