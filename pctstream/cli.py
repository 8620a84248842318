"""The command line: `pctstream COMMAND`. Errors are one line with the fix; the exit code tells.

Where `--json` is asked for, an error is JSON too, on stderr: `{"error": .., "code": ..}`, the code
being the stable name of errors.py. stdout is then empty or whole.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from pctstream.errors import PctError

COMMANDS = (
    "up", "worker", "broker", "topics", "feed", "status", "query", "moves",
    "compare", "promote", "verify", "snapshot", "restore", "config", "doctor", "simulate", "completion",
)  # fmt: skip
INTERRUPTED = 130
"""As a shell says of a program that Ctrl-C ended."""


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
@click.option("--debug", is_flag=True, help="Show the traceback of an error (any place will do).")
@click.version_option(package_name="pctstream")
def cli(debug: bool) -> None:
    """A live probabilistic cover tree over a stream of vectors."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command; exit 0 ok, 1 a check failed, 2 usage, 3 broker, 4 refused, 5 data loss."""
    words = list(sys.argv[1:] if args is None else args)
    debug, as_json = "--debug" in words, "--json" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = cli(words, prog_name="pctstream", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, name, code = told(error)
        if as_json:
            click.echo(json.dumps({"error": message, "code": name}), err=True)
        else:
            click.echo(f"pctstream: {message}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def told(error: Exception) -> tuple[str, str, int]:
    """What an error says in one line, its stable name, and the exit code.

    >>> told(PctError("no more: stop"))
    ('no more: stop', 'error', 1)
    >>> told(ZeroDivisionError("by zero"))
    ("a fault of pctstream's own: ZeroDivisionError: by zero; --debug shows where", 'internal', 1)
    """
    if isinstance(error, click.ClickException):
        message = error.format_message()
        ctx = getattr(error, "ctx", None)
        if ctx is not None:
            message = f"{message.rstrip('.')}; see `{ctx.command_path} --help`"
        return one_line(message), "usage", 2
    if not isinstance(error, PctError):
        error = _translated(error) or error
    if isinstance(error, PctError):
        return one_line(str(error)), error.code, error.exit_code
    if isinstance(error, ImportError):
        return f"{one_line(str(error))}: run `make setup`, or install pctstream anew", "install", 1
    if isinstance(error, OSError):
        return one_line(str(error)), "system", 1
    said = f"{type(error).__name__}: {error}"
    return one_line(f"a fault of pctstream's own: {said}; --debug shows where"), "internal", 1


def _translated(error: Exception) -> PctError | None:
    """One of Kafka's as one of ours."""
    kafka = sys.modules.get("confluent_kafka")
    if kafka is None or not isinstance(error, kafka.KafkaException):
        return None
    from pctstream.refusal import error_of

    return error_of(error.args[0], "go on")


def one_line(message: str) -> str:
    return " ".join(message.split())
