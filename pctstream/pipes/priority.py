"""Questions go first: threads that take rows, copy, prove or tidy have less of the processors where others
want them, too.

Rows can wait, they lie in their log; whoever asks cannot. Where more comes than can be taken, a question
that takes 15 ms on an idle worker finds a dozen threads before it (RESULTS.md, "Overload").
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICE = 10
"""Steps of niceness below the rest of the process: a tenth of the share, where all are wanted."""


def lower() -> None:
    """The thread that calls this comes after the others of its process; Linux only, elsewhere nothing."""
    if sys.platform != "linux":  # elsewhere a thread's number may be another process's
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        # of the process: the thread that began this one may have stepped back itself
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, thread, own + NICE)
