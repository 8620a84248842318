"""The command line: `pctstream COMMAND`. Errors are one line with the fix; the exit code tells."""

from __future__ import annotations

import sys
import traceback

import click

from pctstream.commands.broker import broker_command
from pctstream.commands.feed import feed_command
from pctstream.commands.status import status_command
from pctstream.commands.topics import topics_command
from pctstream.commands.up import up_command
from pctstream.commands.verify import verify_command
from pctstream.commands.worker import worker_command
from pctstream.errors import PctError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="pctstream")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """A live probabilistic cover tree over a stream of vectors."""
    ctx.obj = debug


for command in (
    up_command,
    worker_command,
    broker_command,
    topics_command,
    feed_command,
    status_command,
    verify_command,
):
    cli.add_command(command)


def main() -> None:
    """Run a command; exit 0 ok, 1 a check failed, 2 usage, 3 broker, 4 refused, 5 data loss."""
    debug = "--debug" in sys.argv
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except PctError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"pctstream: {error}", err=True)
        sys.exit(error.exit_code)
