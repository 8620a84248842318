"""`pctstream topics plan|apply|export`."""

from __future__ import annotations

from pathlib import Path

import click
import yaml
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.commands.context import common_options, configured
from pctstream.pipes import client


@click.command("topics")
@click.argument("action", type=click.Choice(["plan", "apply", "export"]))
@common_options
def topics_command(action: str, config_file: Path | None, data_dir: Path | None) -> None:
    """Compare the tree's topics with the broker's, make them, or print them."""
    cfg = configured(config_file, data_dir, need_broker=action != "export")
    specs = topics.static_specs(cfg)
    if action == "export":
        for spec in specs:
            body = {"topicName": spec.name, "partitions": spec.partitions,
                    "replicas": spec.replication, "config": dict(spec.config)}  # fmt: skip
            document = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
                        "metadata": {"name": spec.name.lower()}, "spec": body}  # fmt: skip
            click.echo("---\n" + yaml.safe_dump(document, sort_keys=False), nl=False)
        return
    admin = AdminClient(client.common(cfg, "topics"))
    act = topics.plan if action == "plan" else topics.apply
    changes = act(admin, specs)
    for change in changes:
        click.echo(str(change))
    if not changes:
        click.echo("nothing to change")
