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

    def run(more: int) -> None:
        lower()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        if more:
            began(more - 1)

    def began(more: int) -> None:
        thread = threading.Thread(target=run, args=(more,))
        thread.start()
        thread.join(20.0)

    began(2)
    assert seen == [min(19, mine + NICE)] * 3, "whoever began it"
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
