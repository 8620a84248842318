"""The demo from beginning to end: `python -m pctstream.demo`."""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from pctstream import photographs
from pctstream.demo import crowds
from pctstream.demo.scenes import RATE, Scenes
from pctstream.demo.stream import Pool
from pctstream.demo.telling import say, title
from pctstream.errors import PctError
from pctstream.running import Running

SEED = 7
EPSILON = 4.26
STAY_S = 45.0
CARRIED = 1.6
"""Rates of the stream that all shards together can take."""

SETTINGS = {
    "PCT_TREE__EPSILON": str(EPSILON),
    # Levels 0 to 2: with the default of 6 the tree grows on for minutes after the last row, into
    # nodes of a few hundred patches each. The epsilons below N0 and when a level closes are defaults.
    "PCT_TREE__MAX_LEVEL": "2",
    "PCT_SHARDS__COUNT": "5",
    # One machine is three times as large as the others. What all carry together is chosen so that the
    # first photograph fits and the second one would not: halfway through, a shard is over its line.
    "PCT_SHARDS__CAPACITY": '{"4" = 3.0}',
    "PCT_SHARDS__ROWS_PER_S": str(CARRIED * RATE),
    # Forecasts of seconds instead of minutes.
    "PCT_DRIFT__WINDOW_S": "3",
    "PCT_DRIFT__HORIZON": "6",
    # So short a history is noisy, the more so on a machine that has other things to do.
    "PCT_DRIFT__THRESHOLD": "2",
    "PCT_MOVES__GRACE_S": "1",
}
KEPT = ("PCT_BROKER", "PCT_JARS", "PCT_KAFKA__")


def main() -> NoReturn:
    """Run it; Ctrl-C and SIGTERM stop everything that was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        code = demo()
    except KeyboardInterrupt:
        code = 130
    except PctError as error:
        say(f"demo: {error}")
        code = error.exit_code
    sys.exit(code)


def demo() -> int:
    """The scenes in order; the exit code."""
    say("pctstream demo: 2 to 3 minutes, 2 cores, 2 GB of memory, 2 GB of disk under "
        f"{tempfile.gettempdir()};")  # fmt: skip
    say("a Kafka broker of its own (Java 17) unless PCT_BROKER names one; nothing is left behind.")
    started = time.monotonic()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PCT_") or k.startswith(KEPT)}
    env = {**kept, **SETTINGS, **crowds.SETTINGS, "PCT_TREE__NAME": f"demo-{os.getpid()}"}
    with (
        tempfile.TemporaryDirectory(prefix="pctstream-demo-", ignore_cleanup_errors=True) as folder,
        Running(Path(folder), 2, env) as system,
    ):
        title("a broker and two workers")
        pools = Pool("china", SEED), Pool("flower", SEED)
        for name in photographs.NAMES:
            say(f"patches of 8 x 8 x 3 = 192 numbers: {photographs.CREDITS[name]}")
        say("chosen so that two minutes show it, against the defaults: windows of 3 s (5 s), a "
            "threshold of 2 (3), a grace of 1 s (10 s), shards that carry "
            f"{CARRIED * RATE:,.0f} rows/s together, one of them three times the others")  # fmt: skip
        system.wait_ready(say)
        say(f"ready; a page to look at meanwhile: {system.urls[0]}/")
        code = Scenes(system, pools, EPSILON).play()
        say(f"the demo took {time.monotonic() - started:.0f} s")
        stay(system)
        title("stopping everything")
    return code


def stay(system: Running) -> None:
    """On a terminal there is somebody who may want to look around."""
    page = f"{system.urls[0]}/"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(f"a page to look at while a system runs (`make up` starts one): {page}")
        return
    say(f"a page to look at, and time to try the commands above: {page}")
    say(f"everything runs on for {STAY_S:.0f} s; Enter ends it now")
    for left in range(int(STAY_S), 0, -5):
        if select.select([sys.stdin], [], [], 5.0)[0]:
            return
        say(f"... {left - 5} s")


if __name__ == "__main__":
    main()
