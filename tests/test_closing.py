"""A store that is closed while somebody reads it: the shard moves to another worker, nothing failed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pctstream.errors import NotReady
from pctstream.rocks import RocksKV

READS: dict[str, Callable[[RocksKV], object]] = {
    "get": lambda kv: kv.get(b"0001"), "scan": lambda kv: next(kv.scan(b"")),
    "keys": lambda kv: next(kv.keys(b"")), "frozen": lambda kv: kv.frozen(),
}  # fmt: skip


@pytest.mark.parametrize("how", READS)
def test_who_reads_while_it_is_closed_is_to_ask_again(how: str, tmp_path: Path) -> None:
    """Closing takes as long as writing what lies in memory: until then the library says that the
    database is borrowed, then that it is closed."""
    kv = RocksKV(tmp_path / "0", 64 << 20)
    kv.write([(f"{i:04}".encode(), os.urandom(100_000)) for i in range(100)])
    closing = threading.Thread(target=kv.close)
    closing.start()
    with pytest.raises(NotReady, match="ask again"):
        while True:
            READS[how](kv)
    closing.join()
