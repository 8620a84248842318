"""First owners of portions: weighted rendezvous hashing with bounded loads.

Theory
------
Every pair (portion, shard) has a score that only the two of them and the shard's capacity decide:
-w / ln(u), where u in (0, 1) is the hash of the pair. The shard with the highest score wins, and
each wins in proportion to its weight w (Thaler and Ravishankar 1998; weights as in Schindelhauer
and Schomaker 2005). A shard that joins takes from the others only what it wins itself.

Chance alone leaves some shards far too full when portions are few. So no shard takes more than
ceil(c * portions * w / sum of w), c = 1.25 (Mirrokni, Thorup and Zadimoghaddam 2018): pairs are
granted from the highest score down, where the portion is still free and the shard has room. That
is the one stable matching of portions and shards: it does not depend on the order of the input,
and room that appears or goes moves only the portions that want it.

Nothing is known of the portions yet when they are placed first. Density decides later (core/plan.py).

A shard that joins when portions have long been moved by density takes, by hashing alone, those that
it wins against all others, the highest scores first and no more than its share; nothing else moves.
The portions of one that leaves go where they would be had it never been there, so that a shard that
came and went has changed nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from pctstream.core.names import Path, node_name
from pctstream.errors import UsageError

BOUND = 1.25


def _score(portion: Path, shard: int, weight: float) -> float:
    pair = f"{node_name(portion)}@{shard}".encode()
    word = int.from_bytes(hashlib.blake2b(pair, digest_size=8).digest(), "little")
    # 52 bits and a half: exact in a float, never 0 and never 1
    return -weight / math.log(((word >> 12) + 0.5) * 2.0**-52)


def room(portions: int, capacities: Mapping[int, float]) -> dict[int, int]:
    """How many portions each shard takes at most; a shard of weight 0 takes none.

    >>> room(8, {0: 1.0, 1: 3.0, 2: 0.0})
    {0: 3, 1: 8, 2: 0}
    """
    if any(not 0.0 <= w < math.inf for w in capacities.values()):
        raise UsageError(f"shards.capacity {dict(capacities)}: weights are numbers >= 0")
    total = math.fsum(capacities.values())
    if total <= 0.0:
        raise UsageError("no shard has a capacity: give at least one a weight > 0")
    return {s: math.ceil(BOUND * portions * w / total) for s, w in capacities.items()}


def apart(
    weights: Mapping[Path, float], loads: Mapping[int, float], capacities: Mapping[int, float]
) -> dict[Path, int]:
    """The shard of each of these portions whose weights are known, beside the ``loads`` that shards have:
    the heaviest first, each where the load by capacity is least then (Graham's rule).

    >>> apart({(0, 3, 0): 5.0, (0, 3, 1): 4.0, (0, 3, 2): 3.0}, {0: 0.0, 1: 2.0}, {0: 1.0, 1: 1.0})
    {(0, 3, 0): 0, (0, 3, 1): 1, (0, 3, 2): 0}
    """
    full = {s: loads.get(s, 0.0) for s, w in sorted(capacities.items()) if w > 0.0}
    if not full:
        raise UsageError("no shard has a capacity: give at least one a weight > 0")
    owners = {}
    for path in sorted(weights, key=lambda p: (-weights[p], p)):
        after = {s: (load + weights[path]) / capacities[s] for s, load in full.items()}
        owners[path] = shard = min(after, key=lambda s: after[s])
        full[shard] += weights[path]
    return dict(sorted(owners.items()))


def first_owners(portions: Sequence[Path], capacities: Mapping[int, float]) -> dict[Path, int]:
    """The shard of each portion, in the order of `portions`; capacities: shard -> weight.

    A UsageError when no shard has a positive weight.

    >>> first_owners([(0, 0), (0, 1), (0, 2)], {0: 1.0, 1: 1.0})
    {(0, 0): 0, (0, 1): 0, (0, 2): 1}
    """
    wanted = list(dict.fromkeys(portions))
    left = room(len(wanted), capacities)
    pairs = sorted(
        (-_score(p, s, w), p, s) for p in wanted for s, w in capacities.items() if w > 0.0
    )
    owners: dict[Path, int] = {}
    for _, portion, shard in pairs:
        if portion not in owners and left[shard]:
            owners[portion] = shard
            left[shard] -= 1
    return {p: owners[p] for p in wanted}


def joined(
    owners: Mapping[Path, int], capacities: Mapping[int, float], new: int
) -> dict[Path, int]:
    """The portions that a new shard takes, each with the new shard; capacities with its weight.

    At most its share of the portions, rounded up.

    >>> joined({(0, i): i % 2 for i in range(6)}, {0: 1.0, 1: 1.0, 2: 1.0}, 2)
    {(0, 5): 2, (0, 2): 2}
    """
    room(len(owners), capacities)
    weight = capacities[new]
    if weight <= 0.0:
        return {}
    won = []
    for portion in owners:
        best, shard = max((_score(portion, s, w), s) for s, w in capacities.items() if w > 0.0)
        if shard == new:
            won.append((-best, portion))
    share = math.ceil(len(owners) * weight / math.fsum(capacities.values()))
    return {portion: new for _, portion in sorted(won)[:share]}


def left(owners: Mapping[Path, int], capacities: Mapping[int, float], gone: int) -> dict[Path, int]:
    """New owners for the portions of a shard that leaves; capacities: of those that stay.

    >>> left({(0, 0): 0, (0, 1): 2, (0, 2): 1}, {0: 1.0, 1: 1.0}, 2)
    {(0, 1): 0}
    """
    first = first_owners(list(owners), {s: w for s, w in capacities.items() if s != gone})
    return {portion: first[portion] for portion, owner in owners.items() if owner == gone}
