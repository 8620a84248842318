"""`pctstream worker`: one worker in this process."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pctstream import lean, ports, rights, trust
from pctstream.allowed import split_address
from pctstream.commands.context import common_options, configured
from pctstream.config import to_env
from pctstream.core.warm import warm
from pctstream.errors import NotReady
from pctstream.reach import check_topics, reach


@click.command("worker")
@common_options
@click.option("--name", default=None, help="Of this worker within the group (unique).")
@click.option("--http", default=None, help="HOST:PORT to serve on.")
@click.option("-l", "--loglevel", default="warn", help="Of Faust's own log.")
def worker_command(
    config_file: Path | None, data_dir: Path | None, name: str | None, http: str | None,
    loglevel: str,
) -> None:  # fmt: skip
    """Run one worker: it joins the group and hosts the shards it is given."""
    cfg = configured(config_file, data_dir, http__bind=http)
    trust.check(cfg)
    host, port = split_address(cfg.http.bind)
    if not ports.is_free(host, port):
        raise NotReady(
            f"http.bind {cfg.http.bind} is taken by {ports.holder(port)}: end it, or name another "
            "with --http"
        )
    admin = reach(cfg, "worker")
    rights.check(admin, cfg, "worker")
    check_topics(admin, cfg)
    os.environ.update(to_env(cfg))
    if name:
        os.environ["PCT_WORKER"] = name
    lean.without_pandas()
    import faust

    from pctstream.app import create

    warm(cfg.spatial.enabled)
    worker = faust.Worker(
        create(os.environ), loglevel=loglevel, redirect_stdouts=False, quiet=True
    )  # fmt: skip
    worker.spinner = None  # it would write cursor codes into whatever log this goes to
    worker.execute_from_commandline()
