"""A real Kafka broker of one's own: from jars, without Docker, for development, tests and demos.

`LocalBroker` runs the class that Kafka's own start script runs, from the jars of jars.py, as one
process that is broker and controller (KRaft). It keeps its log in its data directory: after stop,
kill -9 and start on the same directory the topics are still there, on the same port if it is free.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pctstream import ports
from pctstream.errors import BrokerUnreachable
from pctstream.jars import fetch_jars, jars_dir

__all__ = ["LocalBroker", "fetch_jars", "jars_dir"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={log}
# Topics are made by pctstream alone: a mistyped name must not make one.
auto.create.topics.enable=false
# One broker: one replica of everything.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Nothing is cut by time; a position outlives a long holiday.
log.retention.ms=-1
offsets.retention.minutes=5256000
message.max.bytes=1048588
log.segment.bytes=67108864
# Quick on a laptop: small indexes and buffers, no waiting for other members or brokers.
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a crash the controller refuses the broker's next life for one session: 9 s as shipped.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
"""


class LocalBroker:
    """One broker process on 127.0.0.1 over `data_dir`; `port` 0 takes a free one.

    With `announce` a file `broker.json` {"bootstrap", "pid", "port"} lies in that directory while
    the broker runs. Raises JarsMissing or BrokerUnreachable from `start`.
    """

    def __init__(
        self, data_dir: Path, port: int = 0, heap_mb: int = 512, announce: Path | None = None
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self._wanted = port
        self._heap_mb = heap_mb
        self._announce = announce / "broker.json" if announce else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for `bootstrap.servers`; known once started."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the broker; BrokerUnreachable if it was not started."""
        return self._running().pid

    def start(self) -> str:
        """Start the broker, wait until it answers, give its bootstrap address.

        1. Fetch the jars if they are not there. 2. Lock the directory: the broker inherits the
        lock, which so lasts as long as its process. 3. Choose the port: the wanted one, else the
        one of the last start, else a free one. 4. Write the properties; format an empty directory.
        5. Run. 6. Wait until an admin client lists topics.
        """
        if self._process is not None and self._process.poll() is None:
            return self.bootstrap
        classpath = f"{fetch_jars()}/*"  # 1
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "lock").open("w") as lock:  # 2
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BrokerUnreachable(
                    f"another broker runs on {self.data_dir}: end it or name another directory"
                ) from None
            self._run(classpath, lock.fileno())
        try:
            self._wait_until_up()  # 6
        except BaseException:
            self.kill()
            raise
        if self._announce:
            self._announce.parent.mkdir(parents=True, exist_ok=True)
            written = {"bootstrap": self.bootstrap, "pid": self.pid, "port": self.port}
            self._announce.write_text(json.dumps(written) + "\n")
        return self.bootstrap

    def _run(self, classpath: str, lock: int) -> None:
        self.port = self._wanted or self._choose_port()  # 3
        properties = self.data_dir / "server.properties"  # 4
        properties.write_text(self._properties(_free_port(self.port)))
        (self.data_dir / "port").write_text(str(self.port))
        java = ["java", "-Dorg.apache.logging.log4j.level=WARN", "-cp", classpath]
        self._format(java, properties)
        heap = [f"-Xmx{self._heap_mb}m", "-XX:+ExitOnOutOfMemoryError"]
        with self._log_path.open("ab") as log:  # 5
            self._process = subprocess.Popen(
                [java[0], *heap, *java[1:], "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                process_group=0,
            )

    def _properties(self, controller: int) -> str:
        """What the broker is told; later lines win."""
        return _PROPERTIES.format(port=self.port, controller=controller, log=self.data_dir / "log")

    def stop(self) -> None:
        """End the broker: SIGTERM, then SIGKILL if it takes too long. Harmless if it has ended."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._process = None
        if self._announce:
            self._announce.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; the log stays as it was."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers from the return of this call on."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # not on macOS before Python 3.13
            # its threads go on until each has noticed: long enough to ack a message
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        self._running().send_signal(signal.SIGCONT)

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "broker.log"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BrokerUnreachable(f"no broker was started on {self.data_dir}: call start()")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        """Signal the broker itself: the pid is ours until it is waited for, so none else is hit."""
        if self._process is not None:
            self._process.send_signal(number)

    def _choose_port(self) -> int:
        try:
            last = int((self.data_dir / "port").read_text())
        except (OSError, ValueError):
            return _free_port()
        return last if ports.is_free("127.0.0.1", last) else _free_port()

    def _format(self, java: list[str], properties: Path) -> None:
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        # A hyphen in front would be read as an option.
        name = "p" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        tool = ["kafka.tools.StorageTool", "format", "-t", name, "-c", str(properties)]
        done = subprocess.run(
            [*java, *tool], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stdout + done.stderr).strip()[-2000:]
            raise BrokerUnreachable(f"{self.data_dir} could not be formatted for Kafka: {last}")

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._running().poll() is not None:
                raise BrokerUnreachable(f"the local broker ended at once: {self._last_words()}")
            if _listens(self.port) and _answers(self.bootstrap):
                return
            time.sleep(0.05)
        raise BrokerUnreachable(
            f"the local broker did not answer within {START_TIMEOUT_S:.0f} s: {self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = self._log_path.read_text(errors="replace").splitlines()[-40:] or ["nothing"]
        causes = [line for line in lines if "Exception: " in line]
        return f"{self._log_path} ends with: {(causes or lines)[-1].strip()[:500]}"


def _answers(bootstrap: str) -> bool:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(but: int = 0) -> int:
    found = ports.in_a_row(1, (port for port in ports.anywhere() if port != but))
    if found is None:
        raise BrokerUnreachable("no free port was found for a local broker: name one")
    return found


def announced(folder: Path) -> str | None:
    """The bootstrap address of a local broker that `folder/broker.json` names and that is alive."""
    file = folder / "broker.json"
    try:
        known = json.loads(file.read_text())
        os.kill(int(known["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return str(known["bootstrap"])
