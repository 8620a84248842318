"""`pctstream`, but every turn that carries rows is lost, and a worker that does not get on gives up soon.

A restart of its node cures nothing then: what is left is the watchdog.
"""

from __future__ import annotations

from pctstream.agents.node import NodeAgents
from pctstream.agents.shard import Turn
from pctstream.cli import main
from pctstream.core import monitor

put = NodeAgents.put


def lose(agents: NodeAgents, turn: Turn) -> None:
    if turn.unit is None:
        put(agents, turn)


if __name__ == "__main__":
    NodeAgents.put = lose  # type: ignore[method-assign]
    monitor.GIVE_UP_S = 5.0
    main()
