"""`pctstream`, but the first turn that carries rows is lost between its reader and its node's agent.

Nothing is known to do that; the monitor is there for what is not known.
"""

from __future__ import annotations

from pctstream.agents.node import NodeAgents
from pctstream.agents.shard import Turn
from pctstream.cli import main

put, lost = NodeAgents.put, list[Turn]()


def put_or_lose(agents: NodeAgents, turn: Turn) -> None:
    if turn.unit is None or lost:
        put(agents, turn)
    else:
        lost.append(turn)


if __name__ == "__main__":
    NodeAgents.put = put_or_lose  # type: ignore[method-assign]
    main()
