"""The command line: `pctstream COMMAND`. Errors are one line with the fix; the exit code tells."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from pctstream.errors import PctError

COMMANDS = ("up", "worker", "broker", "topics", "feed", "status", "query", "verify", "simulate")


class Commands(click.Group):
    """Imports a command when it is asked for: `feed` needs no Faust, `worker` no Arrow files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"pctstream.commands.{cmd_name}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="pctstream")
def cli(debug: bool) -> None:
    """A live probabilistic cover tree over a stream of vectors."""


def main() -> None:
    """Run a command; exit 0 ok, 1 a check failed, 2 usage, 3 broker, 4 refused, 5 data loss."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except PctError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        click.echo(f"pctstream: {error}", err=True)
        sys.exit(error.exit_code)
