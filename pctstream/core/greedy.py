"""A good assignment of many portions, by packing and local search.

`pack` empties what is above a limit and finds new places for it; the least limit for which that
works is searched by halving, from the lower bound to the best known. `level` then takes from the
fullest shard as long as its load falls: one portion moves, or two change places. `cheapen` keeps the
limit and takes back what the others made needless: a portion goes home, or one of its old shard goes
instead of it. `match` keeps limit and bytes and sends moved portions to shards with likelier rows.

No chance, no clock: the same layout gives the same answer. Every step lowers its own goal, so that
all end; those of `level` are counted besides.
"""

from __future__ import annotations

import numpy as np

from pctstream.core.layout import Bool, Float64, Int64, Layout

HALVINGS = 9
STEPS = 400
"""Moves and exchanges of `level` at most."""
TINY = 1e-9


def spread(layout: Layout, bound: float, target: float, start: Int64) -> Int64:
    """An assignment whose maximum relative load is at most `target`, or as low as was found.

    start: a legal one to do better than; bound: what none goes below.
    """
    best, low, high = start, bound, layout.most(start)
    limit = target
    for _ in range(HALVINGS):
        found = pack(layout, limit)
        if found is None:
            low = limit
        else:
            high = min(high, limit)
            if layout.most(found) < layout.most(best):
                best = found
        if high <= target or high - low < 0.001 * high:
            break
        limit = (low + high) / 2.0
    return level(layout, best, target)


def pack(layout: Layout, limit: float) -> Int64 | None:
    """An assignment with no relative load above the limit and few bytes moved, or None."""
    places = layout.owner.copy()
    room = limit * layout.share * (1.0 + TINY) - layout.loads(places)
    homeless = ~layout.allowed[np.arange(len(places)), places]
    room += np.bincount(places[homeless], layout.load[homeless], minlength=len(room))
    out = list(np.flatnonzero(homeless))
    for s in np.flatnonzero(room < 0.0):
        chosen = _cheapest(layout, int(s), -float(room[s]), homeless)
        if chosen is None:
            return None
        room[s] += layout.load[chosen].sum()
        out += list(chosen)
    for p in sorted(out, key=lambda p: (-layout.load[p], p)):
        fits = np.flatnonzero(layout.allowed[p] & (room >= layout.load[p]))
        if not fits.size:
            return None
        # best fit: what is left empty is least, so that larger rooms stay
        s = fits[np.argmin(room[fits] / layout.share[fits])]
        room[s] -= layout.load[p]
        places[p] = s
    return places


def _cheapest(layout: Layout, shard: int, excess: float, gone: Bool) -> Int64 | None:
    """Portions of the shard whose loads make up the excess, cheap ones; None: they cannot."""
    here = np.flatnonzero((layout.owner == shard) & layout.movable & ~gone & (layout.load > 0.0))
    if layout.load[here].sum() < excess:
        return None
    here = here[np.argsort(layout.cost[here] / layout.load[here], kind="stable")]
    count = int(np.searchsorted(np.cumsum(layout.load[here]), excess)) + 1
    chosen = here[:count]
    for p in chosen[np.argsort(-layout.cost[chosen], kind="stable")]:
        if layout.load[chosen].sum() - layout.load[p] >= excess:
            chosen = chosen[chosen != p]
    alone = here[layout.load[here] >= excess]
    if alone.size and layout.cost[alone].min() < layout.cost[chosen].sum():
        return np.array([alone[np.argmin(layout.cost[alone])]])
    return chosen


def level(layout: Layout, start: Int64, enough: float) -> Int64:
    """Lower the maximum until it is `enough` or no move and no exchange lowers it."""
    places = start.copy()
    loads = layout.loads(places)
    for _ in range(STEPS):
        relative = loads / layout.share
        top = int(np.argmax(relative))
        if relative[top] <= enough:
            break
        step = _step(layout, places, loads, top)
        if step is None:
            break
        p, s, q = step
        places[p] = s
        if q is not None:
            places[q] = top
        loads = layout.loads(places)
    return places


def _step(layout: Layout, places: Int64, loads: Float64, top: int) -> tuple[int, int, int | None] | None:  # fmt: skip # noqa: E501
    """(portion of the top shard, where to, portion back or none) with the least new maximum."""
    mine = np.flatnonzero((places == top) & layout.movable & (layout.load > 0.0))
    if not mine.size:
        return None
    load, share = layout.load, layout.share
    least = float(loads[top] / share[top]) * (1.0 - TINY)
    found: tuple[int, int, int | None] | None = None
    after = np.maximum((loads[None, :] + load[mine, None]) / share,
                       ((loads[top] - load[mine]) / share[top])[:, None])  # fmt: skip
    after[~layout.allowed[mine]] = np.inf
    after[:, top] = np.inf
    i, s = np.unravel_index(np.argmin(after), after.shape)
    if after[i, s] < least:
        least, found = float(after[i, s]), (int(mine[i]), int(s), None)
    back = np.flatnonzero((places != top) & layout.allowed[:, top] & layout.movable)
    if not back.size:
        return found
    to = places[back]
    # exchange of p (rows) with q (columns) on its shard
    given = load[mine, None] - load[None, back]
    after = np.maximum((loads[to] + given) / share[to], (loads[top] - given) / share[top])
    after[~layout.allowed[np.ix_(mine, to)]] = np.inf
    i, j = np.unravel_index(np.argmin(after), after.shape)
    if after[i, j] < least:
        found = (int(mine[i]), int(to[j]), int(back[j]))
    return found


def cheapen(layout: Layout, start: Int64, limit: float) -> Int64:
    """Fewer bytes moved under the limit: portions go home, or cheaper ones go instead."""
    places = start.copy()
    room = limit * layout.share * (1.0 + TINY) - layout.loads(places)
    for p in _moved(layout, places):
        home, s = layout.owner[p], places[p]
        if layout.allowed[p, home] and room[home] >= layout.load[p]:
            places[p] = home
            room[home] -= layout.load[p]
            room[s] += layout.load[p]
    for p in _moved(layout, places):
        home, s = layout.owner[p], places[p]
        if not layout.allowed[p, home]:
            continue
        at_home = (places == home) & layout.allowed[:, s] & (layout.cost < layout.cost[p])
        stand_ins = np.flatnonzero(at_home & (layout.owner == home))
        more = layout.load[p] - layout.load[stand_ins]
        fits = stand_ins[(more <= room[home]) & (-more <= room[s])]
        if fits.size:
            q = fits[np.argmin(layout.cost[fits])]
            places[p], places[q] = home, s
            room[home] -= layout.load[p] - layout.load[q]
            room[s] += layout.load[p] - layout.load[q]
    return places


def match(layout: Layout, start: Int64, limit: float, unlike: Float64) -> Int64:
    """Moved portions go to likelier shards under the limit: one alone, or two change places."""
    places = start.copy()
    room = limit * layout.share * (1.0 + TINY) - layout.loads(places)
    for p in _moved(layout, places):
        there = layout.allowed[p] & (room >= layout.load[p])
        there[places[p]] = True
        there[layout.owner[p]] = False
        choices = np.flatnonzero(there)
        s = choices[np.argmin(unlike[p, choices])]
        if unlike[p, s] < unlike[p, places[p]]:
            room[places[p]] += layout.load[p]
            room[s] -= layout.load[p]
            places[p] = s
    moved = _moved(layout, places)
    for p in moved:
        a, b = places[p], places[moved]
        more = layout.load[moved] - layout.load[p]
        gain = unlike[p, a] + unlike[moved, b] - unlike[p, b] - unlike[moved, a]
        fits = layout.allowed[p, b] & layout.allowed[moved, a] & (a != b)
        fits &= (b != layout.owner[p]) & (layout.owner[moved] != a)
        fits &= (more <= room[a]) & (-more <= room[b]) & (gain > TINY)
        if fits.any():
            j = int(np.argmax(np.where(fits, gain, -np.inf)))
            q, s = moved[j], b[j]
            places[p], places[q] = s, a
            room[a] -= more[j]
            room[s] += more[j]
    return places


def _moved(layout: Layout, places: Int64) -> Int64:
    """Those away from home, the dearest first."""
    moved = np.flatnonzero(places != layout.owner)
    return moved[np.argsort(-layout.cost[moved], kind="stable")]
