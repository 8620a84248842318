"""pctstream: a probabilistic cover tree over an unbounded stream of vectors."""

from __future__ import annotations

__version__ = "0.1.0"
