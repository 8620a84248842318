"""`pctstream completion SHELL`: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_PCTSTREAM_COMPLETE"
"""As click looks for it, of a program called pctstream."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print a script for a SHELL: `eval "$(pctstream completion bash)"`; for fish, pipe it to `source`."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "pctstream", VARIABLE).source())
