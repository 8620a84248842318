"""The threads that take rows come after the others."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from pctstream.pipes.priority import NICE, lower


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_a_thread_steps_back_and_the_process_does_not() -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []

    def run() -> None:
        lower()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20.0)
    assert seen == [min(19, mine + NICE)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
