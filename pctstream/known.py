"""What a tree has already, read from `.routing` before anything is started."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.core.names import Path
from pctstream.core.routing import Routing
from pctstream.ingested import ends_of, read_all
from pctstream.pipes import client
from pctstream.tables import readable

PATIENCE_S = 5.0


def known_portions(cfg: Config) -> list[Path]:
    """Paths of the portions; none if the tree is new or the broker does not answer in time."""
    return sorted(history(cfg).owners)


def history(cfg: Config) -> Routing:
    """What `.routing` holds now, as far as it could be read within `PATIENCE_S` seconds."""
    consumer = Consumer(client.consumer(cfg, "known"))
    log = Routing()
    place = TopicPartition(f"{cfg.tree.name}.routing", 0, 0)
    try:
        low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE_S)
        place.offset = low
        consumer.assign([place])
        deadline = time.monotonic() + PATIENCE_S
        while low < high and time.monotonic() < deadline:
            for message in consumer.consume(256, 0.1):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return log
                if error is None:
                    time_s = message.timestamp()[1] / 1000.0
                    log.fold(readable(message.value()), int(message.offset() or 0), time_s)
    except KafkaException:
        pass
    finally:
        consumer.close()
    return log


def whole_history(cfg: Config) -> Routing:
    """All that `.routing` holds; NotReady or BrokerUnreachable where it cannot be read to its end."""
    topic = f"{cfg.tree.name}.routing"
    log = Routing()
    _, messages = read_all(cfg, Source(topic, 0), ends_of(cfg, topic, [0])[0])
    for message in messages:
        log.fold(readable(message.value), message.offset, 0.0)
    return log
