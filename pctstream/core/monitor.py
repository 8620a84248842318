"""Who stands still, and why: the judge of the monitor. `agents.monitor` looks, tells and restarts.

Two questions, asked of different things:

- **Is its worker there?** A shard's record comes at least once a heartbeat. One that is older than two
  heartbeats says that nobody speaks for that shard any more, so all its nodes are named. The age is
  the time since the record *arrived here*: two machines' clocks are never compared.
- **Does it get on?** Asked of the nodes here only, for their own worker knows them best; of the others
  its record says it. A node stands still when for `patience` its input held messages that are not
  done, and its position did not pass the farthest it ever was. Below that it may move as it likes:
  a node restored again and again does not get on.

Only time in which this worker was watching counts (`tick`): a process that was stopped for a minute
must not find, on waking, that all the others have been silent for a minute.

A node that stands still is restarted, and again after twice the time, so that what no restart cures
costs little. Where the reason lies elsewhere (`held`: the broker does not answer, say) it is only
named. What restarts did not cure for `GIVE_UP_S` is beyond this process (`beyond`).

>>> monitor = Monitor("me", heartbeat_s=1.0, patience_s=5.0)
>>> monitor.heard(7, "other", {"N0,1": None})
>>> for second in range(6):
...     monitor.tick(float(second))
...     monitor.look(0, "N0,0", Sight((4, 4), lag=2))
>>> [(s.node, s.worker, s.why) for s in monitor.stalled()]
[('N0,1', 'other', 'other has been silent for 5 s')]
>>> monitor.tick(6.0); [s.node for s in monitor.stalled()], monitor.due(), monitor.due()
(['N0,0', 'N0,1'], [(0, 'N0,0')], [])
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

RAISED_S = 1.0
"""Before the second restart of a node that raised; doubled for each further one."""
LONGEST_S = 300.0
"""Between two restarts of a node that no restart cures."""
GIVE_UP_S = 60.0
"""No progress with lag for so long, and its worker ends; twice the patience where that is more."""

Key = tuple[int, str]
"""Shard and node: N0 is on each shard."""


class Sight(NamedTuple):
    """A node as it is now: its position (stored, routed), messages not done, what it waits for."""

    at: tuple[int, int]
    lag: int
    held: str = ""


class Stalled(NamedTuple):
    """A node that stands still."""

    node: str
    shard: int
    worker: str
    why: str


@dataclass(slots=True)
class _Own:
    """A node here; times are of the monitor's clock, `moved_at` is the caller's."""

    sight: Sight
    since: float
    moved_at: float = 0.0
    free_since: float = 0.0
    restarts: int = 0
    tries: int = 0
    raised: int = 0
    not_before: float = 0.0
    restore_at: float = math.inf


class _Heard(NamedTuple):
    """A shard as its worker told it last."""

    worker: str
    at: float
    nodes: dict[str, str | None]


class Monitor:
    """Judges the nodes of one worker, and the workers of all others."""

    def __init__(self, worker: str, heartbeat_s: float, patience_s: float) -> None:
        self._worker = worker
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self._clock = 0.0
        self._now: float | None = None
        self._own: dict[Key, _Own] = {}
        self._heard: dict[int, _Heard] = {}
        self._hosted: set[int] = set()

    def tick(self, now: float) -> None:
        """It is ``now``, in seconds of any clock that never goes back."""
        gap = 0.0 if self._now is None else now - self._now
        self._now = now
        self._clock += min(gap, self._heartbeat_s)

    def heard(self, shard: int, worker: str, nodes: Mapping[str, str | None]) -> None:
        """A worker spoke for a shard: its nodes, and why each stands still if it does."""
        self._heard[shard] = _Heard(worker, self._clock, dict(nodes))

    def host(self, shards: Mapping[int, Collection[str]]) -> None:
        """These shards are here, with these nodes; what was known of others is over."""
        self._hosted = set(shards)
        self._own = {(s, n): own for (s, n), own in self._own.items() if n in shards.get(s, ())}

    def watches(self, shard: int, node: str) -> bool:
        """Whether this node was looked at since its shard came here."""
        return (shard, node) in self._own

    def adopt(self, shard: int, node: str, sight: Sight, moved_at: float, restarts: int) -> None:
        """A node that is new here, with what is known of its past."""
        self._hosted.add(shard)
        self._own[shard, node] = _Own(sight, self._clock, moved_at, self._clock, restarts)

    def look(self, shard: int, node: str, sight: Sight, time: float = 0.0) -> None:
        """A node here as it is at this time of the caller's clock."""
        if not self.watches(shard, node):
            self.adopt(shard, node, sight, time, 0)
        own = self._own[shard, node]
        farthest = max(sight.at[0], own.sight.at[0]), max(sight.at[1], own.sight.at[1])
        moved = farthest != own.sight.at
        if moved:
            own.moved_at = time
            own.tries = own.raised = 0
            own.not_before = 0.0
        if moved or own.sight.lag <= 0:
            own.since = self._clock
        if sight.held or own.sight.held:
            own.free_since = self._clock
        if own.sight.held and not sight.held:
            # what it waited for is there again: as long as before to get on by itself
            own.not_before = max(own.not_before, self._clock + self._patience_s)
        own.sight = sight._replace(at=farthest)

    def raised(self, shard: int, node: str) -> float:
        """The node's agent raised: seconds until it is to be restored; 0: at once, else `due`."""
        fresh = _Own(Sight((-1, -1), 0), self._clock, free_since=self._clock)
        own = self._own.setdefault((shard, node), fresh)
        wait = _back_off(RAISED_S, own.tries)
        self._restarted(own, max(wait, self._patience_s))
        own.raised += 1
        own.restore_at = self._clock + wait if wait else math.inf
        return wait

    def due(self) -> list[Key]:
        """The nodes to be restored now; each is told once, and counted."""
        out = []
        for key, own in sorted(self._own.items()):
            if own.restore_at <= self._clock:
                own.restore_at = math.inf
                out.append(key)
            elif self._stands(own) and not own.sight.held and own.not_before <= self._clock:
                self._restarted(own, _back_off(self._patience_s, own.tries + 1))
                own.restore_at = math.inf
                out.append(key)
        return out

    def beyond(self) -> list[Stalled]:
        """The nodes here that stand still for so long, by no reason that lies elsewhere, that the
        whole worker has to begin again."""
        after = max(GIVE_UP_S, 2 * self._patience_s)
        return [
            Stalled(node, shard, self._worker, self._why(own))
            for (shard, node), own in sorted(self._own.items())
            if own.sight.lag > 0 and self._clock - max(own.since, own.free_since) > after
        ]

    def _restarted(self, own: _Own, wait: float) -> None:
        own.restarts += 1
        own.tries += 1
        own.not_before = self._clock + wait

    def known(self, shard: int, node: str) -> tuple[float, int, str | None]:
        """Of a node here: when it last moved, how often it was restarted, why it stands still."""
        own = self._own.get((shard, node))
        if own is None:
            return 0.0, 0, None
        return own.moved_at, own.restarts, self._why(own) if self._stands(own) else None

    def stalled(self) -> list[Stalled]:
        """Every node of the tree that stands still, as far as it is known here."""
        out = [
            Stalled(node, shard, self._worker, self._why(own))
            for (shard, node), own in self._own.items()
            if self._stands(own)
        ]
        for shard, heard in self._heard.items():
            if shard in self._hosted:
                continue
            age = self._clock - heard.at
            silent = f"{heard.worker} has been silent for {age:.0f} s"
            for node, why in heard.nodes.items():
                if age > 2 * self._heartbeat_s:
                    out.append(Stalled(node, shard, heard.worker, silent))
                elif why is not None:
                    out.append(Stalled(node, shard, heard.worker, why))
        return sorted(out)

    def _stands(self, own: _Own) -> bool:
        return own.sight.lag > 0 and self._clock - own.since > self._patience_s

    def _why(self, own: _Own) -> str:
        quiet = f"{self._clock - own.since:.0f} s without progress, {own.sight.lag} messages behind"
        if own.sight.held:
            return f"{quiet}: {own.sight.held}"
        return f"{quiet}: it raised {own.raised} times in a row" if own.raised else quiet


def _back_off(first_s: float, tries: int) -> float:
    return 0.0 if not tries else min(LONGEST_S, first_s * 2.0 ** min(tries - 1, 30))
