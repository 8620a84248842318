"""Files that are no code and come with the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def topic_kinds() -> Path:
    """The directory with one YAML file per kind of topic."""
    return _either("topic_kinds", "topics")


def example_config() -> Path:
    """The example configuration: every setting with its default and its reason."""
    return _either("pctstream.example.toml", "pctstream.example.toml")


def _either(installed: str, checkout: str) -> Path:
    """The build copies the file into the wheel; a checkout has it at the top."""
    inside = _PACKAGE / installed
    return inside if inside.exists() else _PACKAGE.parent / checkout
