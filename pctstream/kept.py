"""Which tables Faust keeps (`tables.NAMES`): each has a changelog, made before the first worker starts."""

from __future__ import annotations

from pctstream.config import Config

TABLES = ("nodes", "portions", "density", "drift", "metrics")


def kept(cfg: Config) -> tuple[str, ...]:
    """The tables of a tree; `regions` where a spatial index is kept."""
    return (*TABLES, "regions") if cfg.spatial.enabled else TABLES
