"""Messages of partitions that Faust's conductor has no callback for (yet).

Faust looks the callback of a message up by its partition. That index is rebuilt at every rebalance and
whenever the subscription changes, while what was fetched before is still on its way: a busy worker died
of the `KeyError`. A partition that is this worker's is in the index in a moment, so its message waits;
one that is not is somebody else's to read, from what was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from faust.types import TP

RETRY_S = 0.05
PATIENCE_S = 30.0

Deliver = Callable[[Any], Awaitable[None]]


def patient(
    deliver: Deliver, assigned: Callable[[], Collection[TP]], tell: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> Deliver:  # fmt: skip
    """``deliver`` for messages whose partition may not be in the index; raises where one that is
    assigned does not come into it within ``patience_s``."""

    async def on_message(message: Any) -> None:
        place, waited = TP(message.topic, message.partition), 0.0
        while True:
            try:
                return await deliver(message)
            except KeyError as error:
                if error.args != (place,) or waited >= patience_s:
                    raise
                if place not in assigned():
                    return tell(f"a message of {place.topic}[{place.partition}], which is not here "
                                "any more, is left to whoever reads it now")  # fmt: skip
            await asyncio.sleep(RETRY_S)
            waited += RETRY_S

    return on_message
