"""Following a log: every record of a small topic, from its beginning, in order, for good.

`.routing` and `.state` are followed by every worker; whoever reads them folds what it reads. The
follower knows when it has caught up with what was there when it began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pctstream.errors import BrokerUnreachable, Refused

Fold = Callable[[KafkaMessage], None]


class Follower:
    """A thread that hands every record of a topic to ``fold``."""

    def __init__(
        self, settings: dict[str, Any], topic: str, fold: Fold, fatal: Callable[..., None]
    ) -> None:
        self._consumer = Consumer(settings)
        self._topic = topic
        self._fold = fold
        self._fatal = fatal
        self._closing = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {topic}", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until everything that was there at the start has been folded."""
        if not self._caught_up.wait(timeout_s):
            raise BrokerUnreachable(
                f"{self._topic} could not be read within {timeout_s:.0f} s: is the broker up and "
                "were the topics made (`pctstream topics apply`)?"
            )

    @property
    def caught_up(self) -> bool:
        return self._caught_up.is_set()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        try:
            partitions = self._partitions()
            self._consumer.assign(
                [TopicPartition(self._topic, p, OFFSET_BEGINNING) for p in partitions]
            )
            behind = set(partitions)
            while not self._closing.is_set():
                for message in self._consumer.consume(256, 0.05):
                    error = message.error()
                    if error is None:
                        self._fold(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        behind.discard(int(message.partition() or 0))
                    elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                        self._fatal(
                            f"we may not read {self._topic}: {error.str()}", Refused.exit_code
                        )
                    elif error.fatal():
                        raise KafkaException(error)
                if not behind:
                    self._caught_up.set()
        except Exception as error:
            self._fatal(f"following {self._topic} failed: {error!r}")
        finally:
            self._consumer.close()

    def _partitions(self) -> list[int]:
        while not self._closing.is_set():
            try:
                found = self._consumer.list_topics(self._topic, timeout=2.0).topics[self._topic]
            except KafkaException:
                continue
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            time.sleep(0.1)
        return []
