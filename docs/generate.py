"""The reference, printed from the code: settings, metrics, topics, HTTP, command line.

Run it to write `reference/*.md` again (`make docs` does); a test compares them, so that nothing can be
added to the product without being here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click

from pctstream import config, packed
from pctstream.catalogue import CATALOGUE
from pctstream.cli import cli
from pctstream.config import SETTINGS
from pctstream.settings import SECTIONS
from pctstream.wanted import kind_of

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/generate.py from the code: change it there. -->\n"
METHODS = ("get", "post", "put", "delete")
KINDS = ("ingest", "pipe", "routing", "control", "state", "shards", "dlq", "changelog")

INTRO = {
    "settings": """# Settings

In `pctstream.toml` (`--config`), or as `PCT_SECTION__KEY` in the environment, which wins;
`PCT_BROKER` is `PCT_KAFKA__BROKER`. An unknown key or an impossible value is refused at the start.
`pctstream config` shows what is in force and where it comes from; `pctstream.example.toml` is the
same as a file. What record 0 of `.routing` fixes (name, dimension, metric, seed, the tree's limits)
cannot be changed while the tree lives.
""",
    "metrics": """# Metrics

What every worker exposes at `/metrics`, besides Prometheus' own `process_` metrics. Each worker
tells of what it hosts, so a sum over the workers is that of the tree. What is forecast is told by
one worker, the one that holds partition 0 of `.control`. Of nodes and portions the 1,000 with the
most rows have a name, the rest is `other`.

Counters and histograms are totals: they go on where the worker's last life ended, whatever ended
it, and no scrape shows less than one before it (they lie in `workers/NAME/totals` of the data
directory; what was counted in the last seconds before a `kill -9` is not in them). The same name at
another machine begins at 0.

The dashboards are in `dashboards/grafana/boards`, the alerts in `dashboards/alerts.yml` with
[the runbook](../runbook.md), what Prometheus is to ask in `dashboards/prometheus.yml`. Where
`http.token_file` is set, `/metrics` wants the token like any other view;
`/metrics?name[]=pct_rows_total&name[]=..` answers with those alone.
""",
    "topics": """# Topics

One file for each kind in `topics/`, in the shape of a Strimzi `KafkaTopic`; `{tree}`, `{shards}`
(`shards.count`) and `{path}` (a pipe's place, or a table) are filled in. `pctstream topics plan`
compares them with the broker, `apply` makes and sets them, `export` prints them filled in. Pipes
are made by the tree, from the same template, when a node splits.
""",
    "http": """# HTTP

Any worker answers for the whole tree. The same as OpenAPI 3.1 is at `/openapi.json` of every
worker, to be tried at `/docs`. Every answer carries `as_of` (time and epoch); errors are
problem+json with a stable `type`; lists take `limit` and `cursor` and give `next`. With
`http.token_file` every call but `/livez` and `/readyz` wants `Authorization: Bearer TOKEN`. What
`/v1/spatial` takes and gives stands in [spatial.md](../spatial.md); it needs `spatial.enabled`.
""",
    "cli": """# Command line

`pctstream COMMAND`. Exit codes: 0 ok, 1 a check failed or no worker answers, 2 usage or settings,
3 no broker, 4 refused, 5 rows lost or doubled. An error is one line on stderr, with `--json` one
object `{"error": .., "code": ..}`; `--debug`, anywhere, shows the traceback.
""",
}


def cell(text: object) -> str:
    """A text within a table."""
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def row(*cells: object) -> str:
    return "| " + " | ".join(map(cell, cells)) + " |"


def table(*heads: str) -> Iterator[str]:
    yield row(*heads)
    yield "|" + "---|" * len(heads)


def shown(value: object) -> str:
    """A default as it stands in the TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {v:g}" for k, v in value.items()) + "}"
    return (
        f'"{value}"' if isinstance(value, (str, Path)) else ('""' if value is None else str(value))
    )


def settings() -> Iterator[str]:
    for section, kind in SECTIONS.items():
        yield f"## [{section}]\n\n{' '.join((kind.__doc__ or '').split())}\n"
        yield from table("key", "default", "unit", "what it is for", "may be")
        for key, one in SETTINGS.items():
            if key.startswith(f"{section}."):
                name = key.removeprefix(f"{section}.")
                yield row(
                    f"`{name}`", f"`{shown(one.default)}`", one.unit, one.why, one.allowed.text
                )
        yield ""


def metrics() -> Iterator[str]:
    yield from table("metric", "kind", "unit", "says")
    for what in CATALOGUE:
        labels = f"{{{','.join(what.labels)}}}" if what.labels else ""
        yield row(f"`{what.name}{labels}`", what.kind, what.unit, what.says)


def topics() -> Iterator[str]:
    for kind in KINDS:
        spec = kind_of(kind)
        text = (packed.topic_kinds() / f"{kind}.yaml").read_text(encoding="utf-8")
        why = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        yield f"## `{spec['topicName']}`\n\n{' '.join(why)}\n"
        yield from table("property", "value")
        yield row("partitions", f"`{spec['partitions']}`")
        for key, value in spec["config"].items():
            yield row(f"`{key}`", f"`{value}`")
        yield ""


def document() -> dict[str, Any]:
    """The OpenAPI document of a worker that has everything switched on."""
    from pctstream.agents.surveyor import Surveyor
    from pctstream.agents.worker import Worker
    from pctstream.http.views import create

    cfg = config.load(None, {}, {"spatial.enabled": True, "kafka.broker": "127.0.0.1:1"})
    worker = Worker(cfg, "docs", "", cast(Any, None))
    worker.surveyor = Surveyor(worker)
    return dict(create(worker).openapi())


def http() -> Iterator[str]:
    yield from table("call", "parameters", "body", "gives")
    for path, calls in document()["paths"].items():
        for method, call in calls.items():
            given = [f"`{p['name']}`" for p in call.get("parameters", [])
                     if p["in"] == "query"]  # fmt: skip
            yield row(
                f"`{method.upper()} {path}`", " ".join(given), body(call), call["description"]
            )


def body(call: dict[str, Any]) -> str:
    """The fields of a call's JSON body."""
    content = call.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    kinds = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    names = {name: None for kind in kinds for name in kind.get("properties", {})}
    return " ".join(f"`{name}`" for name in names)


def command_line() -> Iterator[str]:
    yield from commands(cli, click.Context(cli, info_name="pctstream"))


def commands(command: click.Command, ctx: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from commands(inner, click.Context(inner, info_name=name, parent=ctx))
        return
    usage = " ".join(command.collect_usage_pieces(ctx)).replace("[OPTIONS] ", "")
    yield f"## `{ctx.command_path} {usage}`\n".replace("[OPTIONS]`", "`").replace(" `\n", "`\n")
    yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")) + "\n"
    options = [p.get_help_record(ctx) for p in command.params if isinstance(p, click.Option)]
    if said := [record for record in options if record]:
        yield from table("option", "")
        yield from (row(f"`{names}`", what) for names, what in said)
        yield ""


PAGES = {"settings": settings, "metrics": metrics, "topics": topics, "http": http,
         "cli": command_line}  # fmt: skip


def text(name: str) -> str:
    """A page of the reference."""
    return "\n".join([MADE + INTRO[name], *PAGES[name]()]).rstrip() + "\n"


if __name__ == "__main__":
    for page in PAGES:
        (FOLDER / f"{page}.md").write_text(text(page), encoding="utf-8")
