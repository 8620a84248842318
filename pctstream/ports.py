"""Ports of this machine: whether a server could listen, and who does."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""

UNDIALLED = range(20_000, 32_000)
"""Below those from which the kernel takes the ports of outgoing connections.

Any other may be gone again before a server listens on it; and a client that dials a server which is
down could be given that very port, reach itself, and keep it.
"""
TRIES = 200
"""Of places where nobody may listen yet; on a machine that is not full the first or second will do."""


def anywhere() -> list[int]:
    """Where a server may look for a free port, in no order: two that start at once look elsewhere."""
    return random.SystemRandom().sample(UNDIALLED, TRIES)


def in_a_row(count: int, firsts: Iterable[int], host: str = "127.0.0.1") -> int | None:
    """The first of these with which ``count`` free ports in a row begin; None where none does."""
    return next(
        (first for first in firsts if all(is_free(host, first + i) for i in range(count))), None
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; port 0 always is.

    A host that is no address of this machine cannot be listened on either: it is not free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: connections that linger after a kill do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Who listens on this port, as "pid 17 (nginx)"; "another process" where that cannot be seen."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with suppress(OSError):  # it has ended, or is somebody else's
            if inodes & set(_files(process)):
                return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return "another process"


def _files(process: Path) -> Iterator[str]:
    """What a process has open; a file that it closes meanwhile is left out, not the process."""
    for number in (process / "fd").iterdir():
        with suppress(OSError):
            yield str(number.readlink())


def _listening(port: int) -> set[str]:
    """The inodes of the sockets that listen on the port (Linux)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found
