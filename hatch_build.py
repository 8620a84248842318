"""Puts files from the top of the checkout into the wheel, where pctstream/packed.py finds them.

A table in pyproject.toml would do, but it copies them for an editable install too, and a directory
`pctstream` without code in site-packages shadows the checkout for some tools.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling before a wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"] = {
                "topics": "pctstream/topic_kinds",
                "pctstream.example.toml": "pctstream/pctstream.example.toml",
            }
