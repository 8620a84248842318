"""The proxy of the half-open connections, against sockets."""

from __future__ import annotations

import socket
import threading

import pytest
from chaos.proxy import Proxy


def test_what_is_frozen_stays_open_and_carries_nothing() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(there: socket.socket) -> None:
        with there:
            while piece := there.recv(100):
                there.sendall(piece)

    def accept() -> None:
        for _ in range(2):
            serving.append(threading.Thread(target=echo, args=(listener.accept()[0],)))
            serving[-1].start()

    serving = [threading.Thread(target=accept)]
    serving[0].start()
    proxy = Proxy(listener.getsockname()[1])
    first = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    first.sendall(b"one")
    assert first.recv(100) == b"one"
    assert proxy.freeze() == 1
    first.sendall(b"two")
    first.settimeout(0.2)
    with pytest.raises(TimeoutError):
        first.recv(100)
    second = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    second.sendall(b"three")
    assert second.recv(100) == b"three"
    assert proxy.freeze() == 1
    for end in (first, second, listener):
        end.close()
    proxy.close()
    for thread in serving:
        thread.join(10)
