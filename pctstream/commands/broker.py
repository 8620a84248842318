"""`pctstream broker`: the local broker alone."""

from __future__ import annotations

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
def broker_command(config_file: Path | None, data_dir: Path | None, port: int, fetch: bool) -> None:
    """Run Apache Kafka from its jars until Ctrl-C."""
    if fetch:
        click.echo(str(fetch_jars()))
        return
    cfg = configured(config_file, data_dir, need_broker=False)
    folder = Path(cfg.store.dir)
    broker = LocalBroker(folder / "broker", port=port, announce=folder)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    click.echo(f"broker {broker.start()}")
    try:
        stopped.wait()
    finally:
        broker.stop()
