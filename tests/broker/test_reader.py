"""The reader against a real broker: a log that lost its end, a node that falls behind."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker.system import wait_for
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pctstream import config, topics
from pctstream.broker import LocalBroker
from pctstream.core.block import Block, Source
from pctstream.core.unit import Unit
from pctstream.errors import InputBroken
from pctstream.pipes import client
from pctstream.pipes.input import Collect
from pctstream.pipes.reader import Reader
from pctstream.pipes.room import Load, Room
from pctstream.topics import TopicSpec


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalBroker]:
    local = LocalBroker(tmp_path / "kafka")
    local.start()
    yield local
    local.kill()


class Heard:
    """A reader of messages as they are, and what it said."""

    def __init__(self, broker: str, channel_blocks: int = 16, rows: int = 1000) -> None:
        self.units: queue.Queue[tuple[Unit, Load]] = queue.Queue()
        self.broken: queue.Queue[tuple[Source, InputBroken]] = queue.Queue()
        cfg = config.load(None, {}, {"kafka.broker": broker})
        settings: dict[str, Any] = client.consumer(cfg, "test")
        self.reader = Reader(
            settings, collect=Collect(0.001, rows=10), room=Room(rows, 1 << 20),
            channel_blocks=channel_blocks,
            broken=lambda source, error: self.broken.put((source, error)), fatal=pytest.fail,
        )  # fmt: skip

    def add(self, source: Source, after: int, leader_epoch: int = -1) -> None:
        def decode(messages: Any, prev: int, last: int) -> Unit:
            return Unit(source, prev, last, none(len(messages)))

        def sink(unit: Unit, load: Load) -> None:
            self.units.put((unit, load))

        self.reader.add(source, after, decode, sink, leader_epoch)

    def until(self, last: int) -> None:
        while self.units.get(timeout=20)[0].last < last:
            pass


def none(rows: int) -> Block:
    """So many rows that say nothing."""
    names = (np.zeros(rows, kind) for kind in (np.int32, np.int64, np.int32))
    return Block((Source("t", 0),), *names, np.zeros((rows, 1), np.float32))


def write(broker: str, source: Source, count: int, size: int = 0, linger_ms: int = 5) -> None:
    producer = Producer({"bootstrap.servers": broker, "linger.ms": linger_ms})
    for i in range(count):
        producer.produce(source.topic, str(i).encode().zfill(size), partition=source.partition)
    assert producer.flush(30) == 0


def test_a_log_that_lost_its_end_and_grew_again_is_not_read_on(own: LocalBroker) -> None:
    """Its offsets go on past the watermark: only the leader epoch tells that rows are gone (R1)."""
    source = Source("cut", 0)
    topics.apply(AdminClient({"bootstrap.servers": own.bootstrap}), [TopicSpec("cut", 1)])
    write(own.bootstrap, source, 100)
    first = Heard(own.bootstrap)
    first.add(source, -1)
    first.until(99)
    epoch = first.reader.leader_epoch(source)
    assert epoch >= 0
    first.reader.close()
    own.stop()
    folder = own.data_dir / "log" / "cut-0"
    for file in folder.iterdir():
        if file.name != "partition.metadata":
            file.unlink() if file.is_file() else shutil.rmtree(file)
    own.start()
    write(own.bootstrap, source, 300)
    again = Heard(own.bootstrap)
    again.add(source, 99, epoch)
    broken, error = again.broken.get(timeout=30)
    assert broken == source
    assert "cut[0] cannot be read on from offset 100" in str(error)
    assert again.units.empty()
    again.reader.close()


def test_an_input_whose_node_falls_behind_is_paused_alone(
    broker: LocalBroker, tree_name: str
) -> None:
    slow, quick = Source(f"{tree_name}.slow", 0), Source(f"{tree_name}.quick", 0)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    topics.apply(admin, [TopicSpec(s.topic, 1) for s in (slow, quick)])
    heard = Heard(broker.bootstrap, channel_blocks=4)
    freed = threading.Event()
    lasts: dict[Source, int] = {}
    heard.add(slow, -1)
    heard.add(quick, -1)
    waiting: list[Load] = []

    def node() -> None:
        while len(lasts) < 2 or min(lasts.values()) < 499:
            unit, load = heard.units.get(timeout=20)
            lasts[unit.source] = unit.last
            if unit.source == slow and not freed.is_set():
                waiting.append(load)
            else:
                load.leave()

    taking = threading.Thread(target=node)
    taking.start()

    def seen(last: int) -> bool:
        """Each time is a unit of its own, also where polls are late; or the input is paused."""
        return lasts.get(slow) == last or heard.reader.held()["channel"] == 1

    for part in range(10):
        write(broker.bootstrap, slow, 50)
        write(broker.bootstrap, quick, 50)
        wait_for("the slow one has them", lambda last=50 * part + 49: seen(last))
    wait_for("the quick one at its end", lambda: lasts.get(quick) == 499)
    assert heard.reader.held() == {"node": 0, "channel": 1}
    # one poll's messages may be in hand when the channel fills
    assert len(waiting) <= 4 + 7
    assert lasts[slow] < 499
    freed.set()
    for load in waiting:
        load.leave()
    taking.join(20)
    assert lasts == {slow: 499, quick: 499}
    wait_for("nothing is held", lambda: heard.reader.held() == {"node": 0, "channel": 0})
    heard.reader.close()


def test_units_that_are_lost_do_not_stop_the_reading(broker: LocalBroker, tree_name: str) -> None:
    """An agent is cancelled, a shard goes elsewhere: nobody says any more that they were taken."""
    source = Source(f"{tree_name}.lost", 0)
    topics.apply(AdminClient({"bootstrap.servers": broker.bootstrap}), [TopicSpec(source.topic, 1)])
    write(broker.bootstrap, source, 500)
    heard = Heard(broker.bootstrap, channel_blocks=10_000, rows=50)
    heard.add(source, -1)
    first = [heard.units.get(timeout=20)]
    while sum(len(unit) for unit, _ in first) < 50:
        first.append(heard.units.get(timeout=20))
    in_hand = first[-1][0].last
    assert in_hand < 499, "the room is full, the rest stays in the log"
    first.clear()
    heard.reader.remove(source)
    heard.add(source, in_hand)
    heard.until(499)
    heard.reader.close()


def test_a_log_is_read_before_another_that_is_far_behind_is_through(
    broker: LocalBroker, tree_name: str
) -> None:
    """Seen: what was fetched of three partitions took half a minute to be taken, those of the fourth stood
    in line behind it, and its node was restored for standing still, which put it at the end again."""
    long, short = Source(f"{tree_name}.two", 0), Source(f"{tree_name}.two", 1)
    topics.apply(AdminClient({"bootstrap.servers": broker.bootstrap}), [TopicSpec(long.topic, 2)])
    write(broker.bootstrap, long, 40_000, size=400)
    write(broker.bootstrap, short, 10)
    heard = Heard(broker.bootstrap, channel_blocks=10_000, rows=100)
    heard.add(long, -1)
    read = 0

    def take() -> Source:
        nonlocal read
        unit, load = heard.units.get(timeout=20)
        time.sleep(0.0002 * len(unit))  # 5,000 rows a second are a node's work
        load.leave()
        read += len(unit)
        return unit.source

    while read < 2000:  # meanwhile more is fetched
        take()
    heard.add(short, -1)
    while take() == long:
        pass
    assert read < 20_000
    assert heard.reader.behind(), "the monitor does not blame who stands in line"
    while read < 40_010:
        take()
    wait_for("nothing is left", lambda: not heard.reader.behind())
    heard.reader.close()


def test_logs_of_large_batches_are_read_side_by_side(broker: LocalBroker, tree_name: str) -> None:
    """Seen: a fetch gives one batch, however large, of the first log that has one, and of the others only
    what fits the bytes asked of each; two of four logs were not read before the others were through."""
    sources = [Source(f"{tree_name}.large", number) for number in range(3)]
    topics.apply(
        AdminClient({"bootstrap.servers": broker.bootstrap}), [TopicSpec(sources[0].topic, 3)]
    )
    for source in sources:
        write(broker.bootstrap, source, 12_000, size=1000, linger_ms=1000)
    heard = Heard(broker.bootstrap, channel_blocks=10_000, rows=100)
    for source in sources:
        heard.add(source, -1)
    read = dict.fromkeys(sources, 0)
    while sum(read.values()) < 20_000:
        unit, load = heard.units.get(timeout=20)
        time.sleep(0.0001 * len(unit))  # so that what was fetched is a queue
        load.leave()
        read[unit.source] += len(unit)
    assert min(read.values()) > 3000
    heard.reader.close()
