"""`--watch` on a terminal: a real one, of the kernel, with a worker that is not there."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

from pctstream.commands.watching import frame


def test_a_frame_is_never_larger_than_the_terminal() -> None:
    for count in range(1, 30):
        for rows in range(1, 12):
            drawn = frame([f"line {i} " + "x" * 50 for i in range(count)], 20, rows)
            assert drawn.count("\n") + 1 == min(count, rows)
            plain = drawn.replace("\x1b[H", "").replace("\x1b[K", "").replace("\x1b[J", "")
            assert all(len(line) <= 20 for line in plain.splitlines())


def test_it_goes_on_while_nobody_answers() -> None:
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "pctstream", "status", "--watch", "--http", "http://127.0.0.1:1"],
        stdout=theirs, stderr=theirs, stdin=theirs, start_new_session=True,
        # where the tests run in the background of a script, nobody hears Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"\x1b[H") < 3:  # the first is the cleared screen's
            seen += os.read(ours, 65_536)
        assert b"no worker answers at http://127.0.0.1:1" in seen
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
