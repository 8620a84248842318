"""`pctstream config`: every setting, its value, and where that comes from."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pctstream import config
from pctstream.broker import announced
from pctstream.commands.context import common_options, given
from pctstream.config import SETTINGS, Setting

HIDDEN = "(not shown)"
COLUMNS = ("setting", "value", "default", "unit", "source", "from", "reason")


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as it is shown: ``source`` is default, file, variable, command line or broker.json;
    ``origin`` is which."""

    setting: Setting
    value: object
    source: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        setting = self.setting
        return {
            "key": setting.key,
            "value": plain(self.value, setting.secret),
            "default": plain(setting.default, setting.secret),
            "unit": setting.unit,
            "why": setting.why,
            "allowed": setting.allowed.text,
            "source": self.source,
            "from": self.origin,
            "variable": f"PCT_{setting.key.replace('.', '__').upper()}",
        }


def plain(value: object, secret: bool) -> Any:
    """A value for JSON; of a secret one the keys alone.

    >>> plain({"sasl.password": "hunter2"}, True)
    {'sasl.password': '(not shown)'}
    """
    if isinstance(value, Mapping):
        return {str(key): HIDDEN if secret else item for key, item in value.items()}
    if secret:
        return HIDDEN
    return str(value) if isinstance(value, Path) else value


def shown(config_file: Path | None, data_dir: Path | None) -> list[Shown]:
    """Every setting in the order of the example file."""
    overrides = given(data_dir)
    cfg = config.load(config_file, os.environ, overrides)
    came = config.sources(config_file, os.environ, overrides)
    if not cfg.kafka.broker and (found := announced(Path(cfg.store.dir))):
        cfg = config.load(config_file, os.environ, {**overrides, "kafka.broker": found})
        came["kafka.broker"] = str(Path(cfg.store.dir) / "broker.json")
    if data_dir is None and "store.dir" in overrides:
        came["store.dir"] = "PCT_DATA_DIR"
    out = []
    for key, setting in SETTINGS.items():
        section, _, name = key.partition(".")
        origin = came.get(key, "")
        out.append(Shown(setting, getattr(getattr(cfg, section), name), source_of(origin), origin))
    return out


def source_of(origin: str) -> str:
    """
    >>> source_of(""), source_of("PCT_TREE__GAP"), source_of("the command line"), source_of("/x.toml")
    ('default', 'variable', 'command line', 'file')
    """
    if not origin:
        return "default"
    if origin == "the command line":
        return "command line"
    if origin.endswith("broker.json"):
        return "broker.json"
    return "variable" if origin.startswith("PCT_") else "file"


@click.command("config")
@common_options
@click.option("--json", "as_json", is_flag=True, help="Everything known of each setting.")
@click.option("--toml", "as_toml", is_flag=True, help="As a file for --config, without secrets.")
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
def config_command(
    config_file: Path | None, data_dir: Path | None, as_json: bool, as_toml: bool, changed: bool
) -> None:
    """Every setting: its value, default, unit, where it comes from, what it is for.

    A table on a terminal, else one line a setting with tabs between the columns. Values of
    kafka.client are never shown.
    """
    if as_json and as_toml:
        raise click.UsageError("name either --json or --toml")
    found = [s for s in shown(config_file, data_dir) if s.source != "default" or not changed]
    if as_json:
        click.echo(json.dumps({"settings": [s.to_json() for s in found]}))
    elif as_toml:
        click.echo("\n".join(toml_lines(found)))
    elif sys.stdout.isatty():
        click.echo("\n".join(table(found, shutil.get_terminal_size().columns)))
    else:
        click.echo("\n".join("\t".join(cells) for cells in columns(found)))


def toml_lines(found: list[Shown]) -> Iterator[str]:
    """A file that `--config` reads; a secret is left to its variable."""
    section = ""
    for one in found:
        part, _, name = one.setting.key.partition(".")
        if part != section:
            yield from ["", f"[{part}]"] if section else [f"[{part}]"]
            section = part
        if one.setting.secret and one.value:
            variable = f"PCT_{one.setting.key.replace('.', '__').upper()}"
            yield f"# {name} is set and not shown: give it in {variable}"
        else:
            yield f"{name} = {config.toml_value(one.value)}"


def text(value: object, secret: bool) -> str:
    """A value as TOML, less what is secret, on one line."""
    return config.toml_value(plain(value, secret) if isinstance(value, Mapping) else value)


def columns(found: list[Shown]) -> Iterator[tuple[str, ...]]:
    """A head and a row for each setting."""
    yield COLUMNS
    for one in found:
        s = one.setting
        yield (s.key, text(one.value, s.secret), text(s.default, s.secret), s.unit, one.source,
               one.origin, s.why)  # fmt: skip


def table(found: list[Shown], width: int) -> Iterator[str]:
    """Section by section; what is not at its default is bold and says where it comes from."""
    names = max((len(one.setting.key) for one in found), default=0)
    section = ""
    for one in found:
        s = one.setting
        part, _, _ = s.key.partition(".")
        if part != section:
            yield from (
                ["", click.style(f"[{part}]", bold=True)]
                if section
                else [click.style(f"[{part}]", bold=True)]
            )
            section = part
        unit = "" if s.unit == "-" else f" {s.unit}"
        head = f"  {s.key:<{names}}  {text(one.value, s.secret)}{unit}"
        if one.source != "default":
            head = click.style(f"{head}  <- {one.origin}, default {text(s.default, s.secret)}",
                               bold=True)  # fmt: skip
        yield head
        yield click.style(f"  {'':<{names}}  {s.why}"[: max(width, names + 24)], dim=True)
