"""Other libraries at the same rows, each as its documentation has it; run in `.venv-bench`.

    faust      an agent that counts the values of a topic, and does nothing else:
               `async for value in stream: count += 1`, raw bytes, at the ``info`` level, on asyncio's own
               loop, with Faust's compiled parts and its commits as shipped
    uvloop     the same on uvloop, as `faust --loop uvloop` does
    fausted    the same as faust, with Faust's own JSON for values
    quix       each float32 row goes to the topic of its nearest centre: `app.dataframe(topic)`, the
               48 distances by numpy, `to_topic(nearest)`; at least once, commits as shipped
    bytewax    the same: `kop.input`, `flat_map_batch` with the distances of a batch in one product,
               `kop.output` with the topic in each message

Arguments: the kind, BROKER TOPIC FILE CENTRES SHARING, where FILE is what `arrivals` counts in, CENTRES an
.npy, TOPIC.k the topic of centre k; SHARING is bytewax's. No pctstream here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from arrivals import Arrivals

SESSION_S = 600
"""A contender whose turn it is not stands still: its group must wait for it."""


def faust_counts(kind: str, broker: str, topic: str, file: Path) -> None:
    """A plain Faust worker; for ever."""
    if kind == "uvloop":
        import mode.loop

        mode.loop.use("uvloop")  # before anything else of Faust
    import faust

    number, values_are = Arrivals(file), "json" if kind == "fausted" else "raw"
    app = faust.App(
        f"{topic}.faust", broker=f"kafka://{broker}", value_serializer=values_are, web_enabled=False,
        topic_disable_leader=True, broker_session_timeout=SESSION_S,
        broker_request_timeout=SESSION_S, broker_heartbeat_interval=3,
        datadir=str(file.with_suffix(".faust")),
    )  # fmt: skip

    @app.agent(app.topic(topic, value_serializer=values_are, key_serializer="raw"))
    async def counting(values: faust.Stream) -> None:
        async for _ in values:
            number.add(1)

    app.finalize()
    faust.Worker(app, loglevel="info").execute_from_commandline()


class Centres:
    """Which centre a float32 row is nearest to."""

    def __init__(self, file: str) -> None:
        import numpy as np

        self._np, self._x = np, np.load(file, allow_pickle=False)
        self._half = (self._x**2).sum(axis=1) / 2.0
        self.count = len(self._x)

    def nearest(self, values: list[bytes]) -> Any:
        """The number of each row's centre."""
        rows = self._np.frombuffer(b"".join(values), self._np.float32).reshape(len(values), -1)
        return (self._half - rows @ self._x.T).argmin(axis=1)


def quix_routes(broker: str, topic: str, state: Path, centres: Centres) -> None:
    """A plain quix-streams application; for ever."""
    from quixstreams import Application

    app = Application(
        broker, consumer_group=f"{topic}.quix", auto_offset_reset="earliest", loglevel="WARNING",
        state_dir=str(state), auto_create_topics=False,
        consumer_extra_config={"session.timeout.ms": 1000 * SESSION_S,
                               "max.poll.interval.ms": 1000 * SESSION_S},
    )  # fmt: skip
    source = app.topic(topic, value_deserializer="bytes")
    pipes = [app.topic(f"{topic}.{k}", value_serializer="bytes") for k in range(centres.count)]
    app.dataframe(source).to_topic(lambda value, *_: pipes[int(centres.nearest([value])[0])])
    app.run()


def bytewax_routes(broker: str, topic: str, centres: Centres, sharing: str) -> None:
    """A plain bytewax dataflow; for ever. ``sharing``: number:port,port,..; one port a process."""
    import bytewax.operators as op
    from bytewax._bytewax import cli_main
    from bytewax.connectors.kafka import KafkaSinkMessage
    from bytewax.connectors.kafka import operators as kop
    from bytewax.dataflow import Dataflow

    def deal(messages: list[Any]) -> list[Any]:
        nearest = centres.nearest([m.value for m in messages]).tolist()
        return [KafkaSinkMessage(None, m.value, topic=f"{topic}.{k}")
                for m, k in zip(messages, nearest, strict=True)]  # fmt: skip

    flow = Dataflow("routing")
    came = kop.input("in", flow, brokers=[broker], topics=[topic])
    routed = op.flat_map_batch("nearest", came.oks, deal)
    kop.output("out", routed, brokers=[broker], topic=topic)
    mine, _, ports = sharing.partition(":")
    addresses = [f"127.0.0.1:{port}" for port in ports.split(",")]
    if len(addresses) == 1:
        cli_main(flow)
    else:
        cli_main(flow, process_id=int(mine), addresses=addresses)


def main() -> None:
    kind, broker, topic, file, centres, sharing = sys.argv[1:7]
    if kind in ("faust", "uvloop", "fausted"):
        faust_counts(kind, broker, topic, Path(file))
    elif kind == "quix":
        quix_routes(broker, topic, Path(file).with_suffix(".state"), Centres(centres))
    else:
        bytewax_routes(broker, topic, Centres(centres), sharing)


if __name__ == "__main__":
    main()
