"""Faust's assignor where shards have warm copies: who takes over a shard is who has one (`core.hosts`).

Faust's own gives a dead worker's partitions to standbys only as far as all hosts stay even, and one that
comes back gets half of them at once, whether it has them or not. A worker tells with its membership what
it hosts, and which of its copies are level; of the others nobody expects anything. Faust's tables keep
no standbys: they are copies of what every worker follows anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor

from pctstream.core.hosts import Part, spread

Level = Callable[[], Collection[int]]


def assignor(topic: str, copies: int, level: Level) -> type[PartitionAssignor]:
    """The assignor of a worker: ``topic`` is that of the shards, ``level()`` says which of its copies
    could take over at this moment."""

    class Assignor(PartitionAssignor):
        @property
        def _metadata(self) -> ClientMetadata:
            told, own = super()._metadata, self._assignment
            warm = {topic: sorted(set(own.standbys.get(topic, ())) & set(level()))}
            told.assignment = ClientAssignment(actives=own.actives, standbys=warm)
            return told

        def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
            had = {name: self._get_client_metadata(m) for name, m in member_metadata.items()}
            self._had = {
                name: Part(
                    set(told.assignment.actives.get(topic, ())),
                    set(told.assignment.standbys.get(topic, ())),
                )
                for name, told in had.items()
            }
            return super()._perform_assignment(cluster, member_metadata)

        def _global_table_standby_assignments(
            self, assignments: Any, partitions_by_topic: Any
        ) -> Any:
            """The last step of Faust's own before it is told: all of its topics have as many partitions
            as there are shards, and go with them."""
            shards = partitions_by_topic[topic]
            parts = spread(shards, copies, self._had)
            for name, one in assignments.items():
                for other, count in partitions_by_topic.items():
                    if count == shards:
                        one.actives[other] = sorted(parts[name].hosts)
                        one.standbys[other] = sorted(parts[name].warm) if other == topic else []
            return assignments

    return Assignor
