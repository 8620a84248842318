"""Faust's own conductor, while its index does not know a partition."""

from __future__ import annotations

import asyncio
from typing import Any

import faust
import pytest
from faust.types import TP, Message

from pctstream.agents.unindexed import patient

HERE = TP("pct.state", 3)


def message() -> Message:
    return Message(HERE.topic, HERE.partition, 7, 0.0, 0, None, b"k", b"v", None)


class Index:
    """A conductor, and what came through it."""

    def __init__(self, patience_s: float = 5.0) -> None:
        self.conductor: Any = faust.App("unindexed", broker="kafka://127.0.0.1:1").topics
        self.assigned: set[TP] = set()
        self.told: list[str] = []
        self.came: list[int] = []
        on_message = self.conductor.on_message
        self.deliver = patient(on_message, lambda: self.assigned, self.told.append, patience_s)

    def fill(self) -> None:
        async def callback(message: Message) -> None:
            self.came.append(message.offset)

        self.conductor._tp_to_callback[HERE] = callback


def test_faust_alone_raises() -> None:
    """What killed a worker: without this the rest of the file proves nothing."""
    with pytest.raises(KeyError):
        asyncio.run(Index().conductor.on_message(message()))


def test_a_partition_that_is_here_is_waited_for() -> None:
    async def late(index: Index) -> None:
        index.assigned = {HERE}
        delivery = asyncio.ensure_future(index.deliver(message()))
        await asyncio.sleep(0)
        assert not delivery.done()
        index.fill()
        await delivery

    index = Index()
    asyncio.run(late(index))
    assert index.came == [7]
    assert index.told == []


def test_one_that_went_elsewhere_is_left_to_others() -> None:
    index = Index()
    asyncio.run(index.deliver(message()))
    assert index.came == []
    assert ["pct.state[3]" in said for said in index.told] == [True]


def test_one_that_never_comes_is_no_secret() -> None:
    index = Index(patience_s=0.1)
    index.assigned = {HERE}
    with pytest.raises(KeyError):
        asyncio.run(index.deliver(message()))


def test_what_the_callback_raises_is_not_hidden() -> None:
    async def callback(_: Message) -> None:
        raise KeyError("another")

    index = Index()
    index.conductor._tp_to_callback[HERE] = callback
    with pytest.raises(KeyError, match="another"):
        asyncio.run(index.deliver(message()))
