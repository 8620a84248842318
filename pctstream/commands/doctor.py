"""`pctstream doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pctstream.commands.context import common_options, configured
from pctstream.doctor.finding import Finding, exit_code

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@common_options
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64),
              help="As many as `up` is to start: their ports and memory.")  # fmt: skip
@click.option("--http", default=None, help="HOST:PORT of the first worker.")
@click.option("--look", default=2.0, show_default=True, type=click.FloatRange(0, 3600),
              help="Seconds between the two looks at the disk.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor_command(
    config_file: Path | None, data_dir: Path | None, workers: int, http: str | None, look: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Look at this machine, the data directory and the broker; one line a finding.

    Exit 0 if nothing failed, 1 if a check failed, 3 if the broker is unreachable, 4 if it refuses us.
    """
    from pctstream.doctor.rounds import rounds

    cfg = configured(config_file, data_dir, need_broker=False, http__bind=http)
    found: list[Finding] = []
    for finding in rounds(cfg, workers, look):
        found.append(finding)
        if not as_json:
            line = str(finding)
            state = click.style(line[:4], fg=COLOURS[finding.state], bold=finding.state != "ok")
            click.echo(state + line[4:])
    counts = {state: sum(f.state == state for f in found) for state in COLOURS}
    if as_json:
        click.echo(json.dumps({"checks": [f.to_json() for f in found], **counts}))
    else:
        click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    sys.exit(exit_code(found))
