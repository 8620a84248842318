"""Other libraries at the same rows, each as its documentation has it; run in `.venv-bench`.

    faust  an agent that counts the values of a topic, and does nothing else:
           `async for value in stream: count += 1`, raw bytes, at the ``info`` level, on uvloop with
           Faust's compiled parts, commits as shipped; one worker process, or two in one group
    quix   `app.dataframe(topic).to_topic(out)` with bytes in and out: each message is copied to
           another topic, at least once, commits as shipped; likewise

Arguments: faust|quix BROKER TOPIC OUT FILE, where FILE is what `arrivals` counts in. No pctstream here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from arrivals import Arrivals

SESSION_S = 600
"""A contender whose turn it is not stands still: its group must wait for it."""


def faust_counts(broker: str, topic: str, number: Arrivals) -> None:
    """A plain Faust worker; for ever."""
    import mode.loop

    mode.loop.use("uvloop")  # before anything else of Faust, as `faust --loop uvloop` does
    import faust

    folder = Path(sys.argv[5]).with_suffix(".faust")
    app = faust.App(
        f"{topic}.faust", broker=f"kafka://{broker}", value_serializer="raw", web_enabled=False,
        topic_disable_leader=True, broker_session_timeout=SESSION_S,
        broker_request_timeout=SESSION_S, broker_heartbeat_interval=3, datadir=str(folder),
    )  # fmt: skip

    @app.agent(app.topic(topic, value_serializer="raw", key_serializer="raw"))
    async def counting(values: faust.Stream) -> None:
        async for _ in values:
            number.add(1)

    app.finalize()
    faust.Worker(app, loglevel="info").execute_from_commandline()


def quix_copies(broker: str, topic: str, out: str, state: str) -> None:
    """A plain quix-streams application; for ever."""
    from quixstreams import Application

    app = Application(
        broker, consumer_group=f"{topic}.quix", auto_offset_reset="earliest", loglevel="WARNING",
        state_dir=state, auto_create_topics=False,
        consumer_extra_config={"session.timeout.ms": 1000 * SESSION_S,
                               "max.poll.interval.ms": 1000 * SESSION_S},
    )  # fmt: skip
    source = app.topic(topic, value_deserializer="bytes")
    app.dataframe(source).to_topic(app.topic(out, value_serializer="bytes"))
    app.run()


def main() -> None:
    kind, broker, topic, out, file = sys.argv[1:6]
    if kind == "faust":
        faust_counts(broker, topic, Arrivals(Path(file)))
    else:
        quix_copies(broker, topic, out, str(Path(file).with_suffix(".state")))


if __name__ == "__main__":
    main()
