"""`pctstream feed FILE`: rows of a file into the tree."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, cast

import click

from pctstream.client import Format
from pctstream.commands.context import common_options, configured, worker_urls
from pctstream.feed import FeedOptions, FeedResult, run
from pctstream.files import Choice
from pctstream.settled import wait_applied

WHOLE = click.IntRange(min=0)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command("feed")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
@click.option("--array", default="", help="The array or list column that is the vector.")
@click.option("--ids", default="", help="The ids (else `id` of a table, else the row's number).")
@click.option("--fields", default="", help="a,b: columns that are the numbers of the vector.")
@click.option("--payload", default="", help="a,b: columns that become the payload.")
@click.option("--time", default="", help="The rows' time: seconds, timestamps or ISO 8601.")
@click.option("--scale", default=1.0, help="Multiplies every number of the vector.")
@click.option("--rate", default=0.0, type=click.FloatRange(min=0), help="Rows a second at most.")
@click.option("--limit", default=None, type=WHOLE, help="So many rows of the file.")
@click.option("--from", "start", default=0, type=WHOLE, help="Skip so many rows of the file.")
@click.option("--loop", default=1, type=click.IntRange(min=1), show_default=True,
              help="So often over; the ids of pass k end in #k.")  # fmt: skip
@click.option("--format", "kind", default="block", show_default=True,
              type=click.Choice(["block", "json", "float32"]),
              help="Blocks of rows, or one message a row.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when every row is applied.")
@click.option("--broker", default=None, help="HOST:PORT of Kafka.")
@click.option("--http", default=None, help="URL of a worker, for --wait.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def feed_command(
    file: Path,
    config_file: Path | None,
    data_dir: Path | None,
    broker: str | None,
    http: str | None,
    wait: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Feed FILE (.npy, .npz, .parquet, .csv or .jsonl) into the tree, keyed by id.

    Ctrl-C stops after the rows that are under way. Exit 0 when the broker has taken every row.
    """
    cfg = configured(config_file, data_dir, kafka__broker=broker)
    choice = Choice(
        given["array"], _names(given["fields"]), given["ids"], given["time"],
        _names(given["payload"]), given["scale"],
    )  # fmt: skip
    options = FeedOptions(
        file, choice, given["rate"], given["limit"], given["start"], given["loop"],
        cast(Format, given["kind"]),
    )  # fmt: skip
    result = _run(options, cfg)
    if result.stopped:
        again = f"; the rest: --from {given['start'] + result.read}" if given["loop"] == 1 else ""
        click.echo(f"stopped: {result.rows:,} rows are in {result.topic}{again}", err=True)
    elif wait:
        wait_applied(cfg, worker_urls(cfg, http), sys.stderr)
        click.echo("every row is applied", err=True)
    if as_json:
        click.echo(json.dumps(result.to_json() | {"applied": wait and not result.stopped}))
    sys.exit(130 if result.stopped else 0)


def _run(options: FeedOptions, cfg: Any) -> FeedResult:
    """Ctrl-C and SIGTERM end it after the rows under way; a second one ends it at once."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        return run(options, cfg, sys.stderr, stop)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
