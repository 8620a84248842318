"""Whether a worker serves, and why not (`/readyz`, `pct_ready`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


def obstacle(worker: Worker) -> str | None:
    """None when this worker serves, else why it does not."""
    if not worker.followed.caught_up:
        return "reading the logs"
    if worker.assigned is None:
        return "not in the group yet"
    if worker.assigned != set(worker.shards):
        return "opening shards"
    if worker.fenced:
        return "it stood still longer than the session timeout and has not rejoined the group"
    silent_s = worker.monitor.unacked_s()
    if silent_s > worker.cfg.kafka.session_timeout_s:
        return (
            f"the broker has acknowledged nothing for {silent_s:.0f} s: this worker may be out of the "
            "group, and others may have newer rows"
        )
    if worker.inputs.waiting:
        return f"inputs are not read yet: {worker.inputs.waiting}"
    if broken := [*worker.inputs.broken.values(), *worker.bridge.broken.values()]:
        return "; ".join(str(e) for e in broken)
    if disputed := list(worker.model.disputed.values()):
        return f"a rebuild found another cover than is known (R10): {', '.join(disputed)}"
    if own := worker.monitor.own():
        return "; ".join(f"{s.node} on shard {s.shard} stands still: {s.why}" for s in own)
    return None
