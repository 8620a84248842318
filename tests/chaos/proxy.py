"""A TCP proxy in front of a port, whose connections can be made half-open."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

PIECE = 1 << 16


class Proxy:
    """Carries bytes both ways, until `freeze`: then the connections there are stay open and carry
    nothing any more, and neither side is told; later ones are carried again."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._frozen: set[socket.socket] = set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def freeze(self) -> int:
        """How many connections carry nothing from now on."""
        pairs = [pair for pair in self._pairs if pair[0] not in self._frozen]
        self._frozen |= {end for pair in pairs for end in pair}
        return len(pairs)

    def close(self) -> None:
        ends = [self._listener, *(end for pair in self._pairs for end in pair)]
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody listens there now
                here.close()
                continue
            self._pairs.append((here, there))
            for ends in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if source in self._frozen:
                    return  # both stay open, nobody reads them any more
                to.sendall(piece)
        if source in self._frozen:
            return
        with suppress(OSError, ValueError):
            self._pairs.remove((source, to))
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
