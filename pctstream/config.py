"""From a file, the environment and a command line to one checked `Config`, and back to TOML.

Later sources win: defaults, the TOML file, `PCT_SECTION__KEY` (a TOML value, else a plain string;
`PCT_BROKER` is short for `PCT_KAFKA__BROKER`), overrides. A relative path in a file is relative to
that file, any other to the working directory; in a Config they are absolute.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pctstream.allowed import is_loopback, split_address
from pctstream.errors import ConfigError
from pctstream.settings import SECTIONS, SETTINGS, Config, Setting

__all__ = ["SETTINGS", "Config", "Setting", "load", "sources", "to_env", "to_toml", "toml_value"]

_NOTHING: Mapping[str, object] = MappingProxyType({})
PATHS = (
    "store.dir",
    "store.snapshots",
    "http.token_file",
    "http.cert_file",
    "http.key_file",
    "http.ca_file",
)


def load(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object] = _NOTHING
) -> Config:
    """The configuration of a process; `overrides` are keyed "store.dir".

    Raises ConfigError for an unknown key, an impossible value, or values that exclude each other.

    >>> load(None, {"PCT_TREE__FANOUT": "32"}, {"shards.count": 4}).shards.active
    4
    """
    values: dict[str, object] = {}
    folder = Path.cwd()
    for source, key, raw in _given(path, env, overrides):
        values[key] = _read(key, raw, source)
        if key in PATHS and isinstance(values[key], Path):
            base = path.absolute().parent if path and source == str(path) else folder
            values[key] = base / values[key]  # type: ignore[operator]
    if "store.dir" not in values:
        base = path.absolute().parent if path else folder
        values["store.dir"] = base / str(SETTINGS["store.dir"].default)
    config = Config(
        **{
            section: kind(
                **{
                    part.name: values[f"{section}.{part.name}"]
                    for part in fields(kind)
                    if f"{section}.{part.name}" in values
                }
            )
            for section, kind in SECTIONS.items()
        }
    )
    _check_together(config)
    return config


def sources(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object] = _NOTHING
) -> dict[str, str]:
    """Where each setting that is not at its default comes from: file, variable or command."""
    return {key: source for source, key, _ in _given(path, env, overrides)}


def to_toml(config: Config) -> str:
    """The whole configuration as TOML that `load` reads back equal (secrets included)."""
    lines = []
    for section in SECTIONS:
        part = getattr(config, section)
        lines.append(f"[{section}]")
        lines += [f"{item.name} = {toml_value(getattr(part, item.name))}" for item in fields(part)]
        lines.append("")
    return "\n".join(lines)


def to_env(config: Config) -> dict[str, str]:
    """The whole configuration as variables for a child process; `load(None, ...)` reads it."""
    return {
        f"PCT_{key.replace('.', '__').upper()}": toml_value(_value(config, key)) for key in SETTINGS
    }


def _value(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _given(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object]
) -> Iterator[tuple[str, str, object]]:
    """(source, key, raw value) in the order in which the later ones win."""
    if path is not None:
        yield from _from_file(path)
    if "PCT_BROKER" in env:
        yield "PCT_BROKER", "kafka.broker", env["PCT_BROKER"]
    for name, raw in sorted(env.items()):
        if name.startswith("PCT_") and "__" in name:
            key = name.removeprefix("PCT_").lower().replace("__", ".", 1)
            yield name, _known(key, name), _from_text(key, raw)
    for key, value in overrides.items():
        yield "the command line", _known(key, "the command line"), value


def _from_file(path: Path) -> Iterator[tuple[str, str, object]]:
    source = str(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}): name a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for section, content in document.items():
        if section not in SECTIONS:
            raise ConfigError(f"{path}: [{section}] is no section: use {', '.join(SECTIONS)}")
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: {section} must be a section [{section}]")
        for name, raw in content.items():
            yield source, _known(f"{section}.{name}", source), raw


def _from_text(key: str, raw: str) -> object:
    """The TOML value that the text is, if the setting allows that value; else the text itself."""
    try:
        value: object = tomllib.loads(f"value = {raw}")["value"]
        SETTINGS[key].allowed.read(value)
    except (ValueError, KeyError):
        return raw
    return value


def _known(key: str, source: str) -> str:
    if key in SETTINGS:
        return key
    section = key.partition(".")[0]
    if section in SECTIONS:
        there = ", ".join(part.name for part in fields(SECTIONS[section]))
        raise ConfigError(f"{source}: {key} is no setting: [{section}] has {there}")
    raise ConfigError(f"{source}: {key} is no setting: the sections are {', '.join(SECTIONS)}")


def _read(key: str, raw: object, source: str) -> object:
    setting = SETTINGS[key]
    if isinstance(raw, Path):
        raw = str(raw)
    try:
        return setting.allowed.read(raw)
    except (ValueError, TypeError, OverflowError) as error:
        shown = "(not shown)" if setting.secret else repr(raw)
        because = f" ({error})" if setting.secret and str(error) else ""
        raise ConfigError(
            f"{source}: {key} = {shown} must be {setting.allowed.text}{because}"
        ) from None


def _check_together(config: Config) -> None:
    """Refuse values that are possible alone and impossible together."""
    rules = (*_of_the_tree(config), *_of_folding(config), *_of_its_place(config))
    for key, value, wrong, must_be in rules:
        if wrong:
            raise ConfigError(f"{key} = {value!r} must be {must_be}")


Rule = tuple[str, object, bool, str]
"""A setting, its value, whether it is impossible, what it must be."""


def _of_the_tree(config: Config) -> list[Rule]:
    tree, shards, limits = config.tree, config.shards, config.limits
    beyond = sorted(set(shards.capacity) - set(range(shards.count)))
    own = [t for t in config.ingest.topics if t.startswith(f"{tree.name}.")]
    return [
        (
            "drift.promote",
            config.drift.promote,
            config.drift.promote and config.store.standby > 0,
            "off while there are warm copies (store.standby), which cannot follow it yet",
        ),
        ("shards.active", shards.active, shards.active > shards.count, "at most shards.count"),
        ("shards.capacity", beyond, bool(beyond), "of shards 0 to shards.count - 1"),
        ("ingest.topics", own, bool(own), "topics that are not the tree's own"),
        ("tree.sink_rows", tree.sink_rows, tree.sink_rows < tree.gap, "at least tree.gap"),
        ("tree.cut", tree.cut, tree.cut > tree.max_level, "at most tree.max_level"),
        (
            "tree.dimension",
            tree.dimension,
            tree.dimension * 4 > config.blocks.row_bytes,
            "at most blocks.row_bytes / 4",
        ),
        (
            "limits.prototypes",
            limits.prototypes,
            limits.prototypes < tree.fanout,
            "at least tree.fanout",
        ),
        (
            "limits.unit_bytes",
            limits.unit_bytes,
            limits.unit_bytes < config.blocks.row_bytes,
            "at least blocks.row_bytes",
        ),
        (
            "spatial.merge_rows",
            config.spatial.merge_rows,
            config.spatial.merge_rows * 2 >= config.spatial.split_rows,
            f"less than half of spatial.split_rows = {config.spatial.split_rows}, or regions would "
            "split and merge for ever",
        ),
        (
            "spatial.max_size",
            config.spatial.max_size,
            0.0 < config.spatial.max_size < config.spatial.min_size * 2,
            f"0 (no limit) or at least twice spatial.min_size = {config.spatial.min_size}",
        ),
    ]


def _of_folding(config: Config) -> list[Rule]:
    tree, share = config.tree, config.tree.fold_share
    if not share:
        return []
    from pctstream.core.coverage import least_limit  # takes numpy

    limit = least_limit(tree.gap) if tree.miss_limit == "auto" else tree.miss_limit
    again = "below tree.miss_limit: what is folded would be found again"
    return [
        ("tree.fold_share", share, not tree.half_life_s, "0 where weights do not fade"),
        ("tree.fold_share", share, 0 < limit <= share, again),
    ]


def _of_its_place(config: Config) -> list[Rule]:
    kafka, http = config.kafka, config.http
    host, _ = split_address(http.bind)
    return [
        (
            "kafka.heartbeat_s",
            kafka.heartbeat_s,
            kafka.heartbeat_s * 2 > kafka.session_timeout_s,
            "at most half of kafka.session_timeout_s",
        ),
        (
            "http.cert_file",
            str(http.cert_file or ""),
            (http.cert_file is None) != (http.key_file is None),
            "given together with http.key_file",
        ),
        (
            "http.bind",
            http.bind,
            http.token_file is None and not is_loopback(host),
            "an address that only this machine reaches, unless http.token_file is set",
        ),
    ]


def toml_value(value: Any) -> str:
    """A value of a setting as TOML; None (no path) is the empty string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path | None):
        quoted = json.dumps("" if value is None else str(value), ensure_ascii=False)
        return quoted.replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = (f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(toml_value(item) for item in value) + "]"
