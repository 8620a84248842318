"""`pctstream`, but the first turn that carries rows is lost between its reader and its node's agent, once
the file `LOSSY_FROM` is there: who was killed may take rows again before that.

Nothing is known to do that; the monitor is there for what is not known.
"""

from __future__ import annotations

import os
from pathlib import Path

from pctstream.agents.node import NodeAgents
from pctstream.agents.shard import Turn
from pctstream.cli import main

put, lost = NodeAgents.put, list[Turn]()


def put_or_lose(agents: NodeAgents, turn: Turn) -> None:
    if turn.unit is None or lost or not Path(os.environ["LOSSY_FROM"]).exists():
        put(agents, turn)
    else:
        lost.append(turn)


if __name__ == "__main__":
    NodeAgents.put = put_or_lose  # type: ignore[method-assign]
    main()
