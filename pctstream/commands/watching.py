"""A terminal that shows the same thing again and again, in its place."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence

import click

from pctstream.errors import PctError

EVERY_S = 2.0
HOME, CLEAR, REST_OF_LINE, BELOW = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"


def frame(lines: Sequence[str], columns: int, rows: int) -> str:
    """What overwrites the frame before it: no line is wrapped, none scrolls away.

    >>> frame(["tree t", "  level 0: 1 nodes"], 10, 4)
    '\\x1b[Htree t\\x1b[K\\n  level 0:\\x1b[K\\x1b[J'
    >>> frame(["a", "b", "c", "d"], 10, 3)
    '\\x1b[Ha\\x1b[K\\nb\\x1b[K\\n.. 2 more\\x1b[K\\x1b[J'
    """
    if len(lines) > rows:
        lines = [*lines[: rows - 1], f".. {len(lines) - rows + 1} more"]
    return HOME + "\n".join(line[:columns] + REST_OF_LINE for line in lines) + BELOW


def watch(lines: Callable[[], Sequence[str]]) -> None:
    """Until Ctrl-C. Who does not answer is told of in the frame, and asked again."""
    terminal = sys.stdout.isatty()
    if terminal:
        click.echo(CLEAR, nl=False)
    while True:
        try:
            shown = list(lines())
        except PctError as error:
            shown = [str(error)]
        if terminal:
            columns, rows = shutil.get_terminal_size()
            click.echo(frame([time.strftime("%H:%M:%S"), *shown], columns, rows), nl=False)
        else:
            click.echo("\n".join(shown))
        time.sleep(EVERY_S)
