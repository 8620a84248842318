"""Ports of this machine: whether a server could listen, and who does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""


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
