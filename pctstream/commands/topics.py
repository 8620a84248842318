"""`pctstream topics plan|apply|export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from pctstream import rights, topics
from pctstream.commands.context import common_options, configured
from pctstream.config import Config
from pctstream.errors import UsageError
from pctstream.reach import reach

ROLES: dict[rights.Role, str] = {
    "worker": "workers",
    "operator": "who makes the topics: `topics apply`, `up`",
    "producer": "who puts rows in: `feed`, pctstream.client.Producer",
    "keeper": "who takes and restores snapshots; Delete only to cut logs",
    "reader": "who compares: `verify`; of it P0 and pipes for `feed --wait`",
}


@click.command("topics")
@click.argument("action", type=click.Choice(["plan", "apply", "export"]))
@common_options
@click.option("--check", is_flag=True, help="Exit 1 if a plan has changes (for CI).")
@click.option("--pipes", is_flag=True, help="Export the pipes that the tree has grown too.")
@click.option("--acl", is_flag=True, help="Export what each role needs to be allowed instead.")
@click.option("--json", "as_json", is_flag=True, help="The changes, or the topics, as JSON.")
def topics_command(
    action: str, config_file: Path | None, data_dir: Path | None, check: bool, pipes: bool,
    acl: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare the tree's topics with the broker's, make them, or print them.

    The pipes that the tree has grown are compared and set too, never made.
    """
    if (check and action != "plan") or ((pipes or acl) and action != "export"):
        raise UsageError("--check is for `topics plan`, --pipes and --acl for `topics export`")
    cfg = configured(config_file, data_dir, need_broker=action != "export" or pipes)
    if acl:
        click.echo("\n".join(_acl_json(cfg) if as_json else _acl(cfg)))
        return
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
    rights.check(admin, cfg, "operator")
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


def _acl(cfg: Config) -> Iterator[str]:
    """The rights of every role, as commands of Kafka's own tool, to be run by its administrator."""
    yield "# as an administrator, with --bootstrap-server (and --command-config); names are examples"
    for role in rights.ROLES:
        yield f"# {ROLES[role]}"
        yield from rights.commands(cfg, role, f"User:{cfg.tree.name}-{role}")


def _acl_json(cfg: Config) -> Iterator[str]:
    yield json.dumps({role: [asdict(r) for r in rights.rights(cfg, role)] for role in rights.ROLES})


def _document(spec: topics.TopicSpec) -> dict[str, Any]:
    """The topic as a Strimzi resource."""
    body = {"topicName": spec.name, "partitions": spec.partitions, "replicas": spec.replication,
            "config": dict(spec.config)}  # fmt: skip
    return {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
            "metadata": {"name": spec.name.lower()}, "spec": body}  # fmt: skip
