"""`pctstream query ...`: the HTTP views from a shell, one command a view."""

from __future__ import annotations

import click

from pctstream.commands.box import box_command
from pctstream.commands.search import range_command, row_command, search_command
from pctstream.commands.solver import cover_command, neighbors_command


@click.group("query")
def query_command() -> None:
    """Ask the tree."""


for command in (
    cover_command,
    neighbors_command,
    search_command,
    range_command,
    row_command,
    box_command,
):
    query_command.add_command(command)
