"""What feed reads of a file, and what it says meanwhile; producing is tested on a real broker."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pctstream.commands.feed import feed_command
from pctstream.core import given
from pctstream.core.given import Row
from pctstream.feed import FeedOptions, passes
from pctstream.files import open_rows
from pctstream.progress import Progress


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten.npy"
    np.save(path, np.arange(10, dtype=np.float32)[:, None])
    return path


def ids(options: FeedOptions) -> list[str | None]:
    """The ids in the order in which they are fed; the vector must still be the row's."""
    out: list[str | None] = []
    for piece in passes(open_rows(options.path, options.choice), options):
        for row in [piece] if isinstance(piece, Row) else given.rows_of(piece):
            assert str(row.id).split("#")[0] == str(int(row.vector[0]))
            out.append(row.id)
    return out


def test_a_window_of_the_file(ten: Path) -> None:
    assert ids(FeedOptions(ten)) == [str(i) for i in range(10)]
    assert ids(FeedOptions(ten, start=8)) == ["8", "9"]
    assert ids(FeedOptions(ten, start=3, limit=2)) == ["3", "4"]
    assert ids(FeedOptions(ten, limit=0)) == []
    assert ids(FeedOptions(ten, start=20)) == []


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_passes_have_ids_of_their_own(ten: Path, suffix: str) -> None:
    if suffix == ".jsonl":
        ten = ten.with_suffix(suffix)
        # payloads that need JSON: single rows on the way
        ten.write_text("".join(f'{{"vector": [{i}], "payload": {{"l": []}}}}\n' for i in range(10)))
    assert ids(FeedOptions(ten, limit=2, loop=3)) == ["0", "1", "0#1", "1#1", "0#2", "1#2"]
    # a slow rate makes smaller pieces, not other rows
    assert ids(FeedOptions(ten, limit=2, loop=2, rate=0.5)) == ["0", "1", "0#1", "1#1"]


def test_a_line_every_five_seconds_where_no_terminal_is() -> None:
    out, clock = io.StringIO(), [0.0]
    progress = Progress(out, "feeding x", 1000, now=lambda: clock[0])
    for second in range(1, 13):
        clock[0] = float(second)
        progress.update(second * 50)
    progress.close(600)
    assert out.getvalue().splitlines() == [
        "feeding x: 250 of 1,000 rows (25%), 50/s, 15 s left",
        "feeding x: 500 of 1,000 rows (50%), 50/s, 10 s left",
        "feeding x: 600 rows in 12.0 s (50/s)",
    ]


def test_the_eta_follows_a_change_of_the_rate() -> None:
    out, clock = io.StringIO(), [0.0]
    progress = Progress(out, "feeding x", 10_000, now=lambda: clock[0])
    done = 0
    for second in range(1, 41):
        clock[0] = float(second)
        done += 1000 if second <= 5 else 10
        progress.update(done)
    assert out.getvalue().splitlines()[-1].endswith(", 10/s, 7 min 45 s left")


def test_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, clock = Terminal(), [0.0]
    progress = Progress(out, "feeding x", 4, now=lambda: clock[0])
    clock[0] = 0.5
    progress.update(2)
    progress.close(4)
    assert "\r" in out.getvalue()
    assert f"[{'#' * 15}{'.' * 15}] 2 of 4 rows (50%)" in out.getvalue()
    assert out.getvalue().endswith("\n")


def test_the_command_refuses_what_it_cannot_do(ten: Path) -> None:
    for wrong in (["--format", "arrow"], ["--loop", "0"], ["--limit", "-1"], ["--rate", "-5"]):
        assert CliRunner().invoke(feed_command, [str(ten), *wrong]).exit_code == 2
