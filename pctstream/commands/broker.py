"""`pctstream broker`: the local broker alone."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import click

from pctstream.broker import LocalBroker, fetch_jars
from pctstream.commands.context import common_options, configured


@click.command("broker")
@common_options
@click.option("--port", default=0, help="0 takes a free one.")
@click.option("--fetch", is_flag=True, help="Only fetch the broker's jars with Maven.")
@click.option("--json", "as_json", is_flag=True, help="What is said as JSON.")
def broker_command(
    config_file: Path | None, data_dir: Path | None, port: int, fetch: bool, as_json: bool
) -> None:
    """Run Apache Kafka from its jars until Ctrl-C."""
    if fetch:
        folder = str(fetch_jars())
        click.echo(json.dumps({"jars": folder}) if as_json else folder)
        return
    cfg = configured(config_file, data_dir, need_broker=False)
    place = Path(cfg.store.dir)
    broker = LocalBroker(place / "broker", port=port, announce=place)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    named = broker.start()
    click.echo(
        json.dumps({"bootstrap": named, "pid": broker.pid}) if as_json else f"broker {named}"
    )
    try:
        stopped.wait()
    finally:
        broker.stop()
