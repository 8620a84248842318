"""The store of a portion becomes that of a trunk node (`core/promotion.py`), in one WriteBatch.

What has left is taken off the disk first (`purging`): however far that comes before a crash, what has not
left is the same, and so is what it becomes.
"""

from __future__ import annotations

import numpy as np
import orjson

from pctstream.core.drawer import Change
from pctstream.core.effects import Promote
from pctstream.core.position import LogIdentity
from pctstream.keyspace import ASIDE, COVERS, LEAVES, NODES, PURGED, of_node, of_number, of_state
from pctstream.purging import purge
from pctstream.store import Store, reached


def promote(store: Store, effect: Promote, log: LogIdentity) -> int:
    """Carry it out; how many rows that had left were taken off the disk."""
    path = effect.path
    nodes = 1 + max((node.number for node in store.tree_nodes(path)), default=0)
    purged = purge(store, path, np.ones(nodes, np.bool_))
    with store.renumbering:
        old = [of_node(kind, path) for kind in (NODES, COVERS, ASIDE, LEAVES)]
        changes: list[Change] = [(key, None) for prefix in old for key in store.keys(prefix)]
        changes += [
            (of_node(PURGED, path), None),
            (of_number(NODES, path, 0), orjson.dumps(effect.root.record)),
            (of_state(path), orjson.dumps(effect.state)),
            reached(effect.source, effect.position, log),
        ]
        store.write(changes)
        store.renumbered(path)
    return purged
