"""What the demo says: whole lines, from whichever thread."""

from __future__ import annotations

import sys


def title(text: str) -> None:
    """The head of a scene."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """One write a line: two threads tell."""
    sys.stdout.write(f"{text}\n")
