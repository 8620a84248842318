"""`pctstream topics plan|apply|export`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from pctstream import topics
from pctstream.commands.context import common_options, configured
from pctstream.errors import UsageError
from pctstream.reach import reach


@click.command("topics")
@click.argument("action", type=click.Choice(["plan", "apply", "export"]))
@common_options
@click.option("--check", is_flag=True, help="Exit 1 if a plan has changes (for CI).")
@click.option("--pipes", is_flag=True, help="Export the pipes that the tree has grown too.")
@click.option("--json", "as_json", is_flag=True, help="The changes, or the topics, as JSON.")
def topics_command(
    action: str, config_file: Path | None, data_dir: Path | None, check: bool, pipes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare the tree's topics with the broker's, make them, or print them.

    The pipes that the tree has grown are compared and set too, never made.
    """
    if (check and action != "plan") or (pipes and action != "export"):
        raise UsageError("--check is for `topics plan`, --pipes for `topics export`")
    cfg = configured(config_file, data_dir, need_broker=action != "export" or pipes)
    specs = topics.static_specs(cfg)
    if action == "export":
        grown = topics.existing_pipes(reach(cfg, "topics"), cfg) if pipes else []
        documents = [_document(spec) for spec in [*specs, *grown]]
        if as_json:
            click.echo(json.dumps(documents))
            return
        for document in documents:
            click.echo("---\n" + yaml.safe_dump(document, sort_keys=False), nl=False)
        return
    admin = reach(cfg, "topics")
    act = topics.plan if action == "plan" else topics.apply
    changes = act(admin, [*specs, *topics.existing_pipes(admin, cfg)])
    if as_json:
        click.echo(json.dumps({"changes": [asdict(c) for c in changes]}))
    else:
        for change in changes:
            click.echo(str(change))
        if not changes:
            click.echo("nothing to change")
    if check and changes:
        sys.exit(1)


def _document(spec: topics.TopicSpec) -> dict[str, Any]:
    """The topic as a Strimzi resource."""
    body = {"topicName": spec.name, "partitions": spec.partitions, "replicas": spec.replication,
            "config": dict(spec.config)}  # fmt: skip
    return {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
            "metadata": {"name": spec.name.lower()}, "spec": body}  # fmt: skip
