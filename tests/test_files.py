"""Rows from files: what each format says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pctstream.core import given
from pctstream.core.given import Row
from pctstream.errors import UsageError
from pctstream.files import Choice, open_rows

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def rows(path: Path, choice: Choice | None = None, start: int = 0, size: int = 3) -> list[Row]:
    """All rows, read in pieces of ``size``."""
    out: list[Row] = []
    for piece in open_rows(path, choice or Choice()).pieces(start, size):
        some = [piece] if isinstance(piece, Row) else list(given.rows_of(piece))
        assert 1 <= len(some) <= size
        out += some
    return out


def plain(path: Path, choice: Choice | None = None, start: int = 0) -> list[tuple[Any, ...]]:
    return [
        (r.vector.tolist(), r.id, r.payload, r.time) for r in rows(path, choice, start)
    ]  # fmt: skip


def npz(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "rows.npz"
    np.savez(path, **arrays)
    return path


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X)
    assert plain(path) == [(x.tolist(), str(i), None, None) for i, x in enumerate(X)]
    assert plain(path, start=3) == [(X[3].tolist(), "3", None, None)]
    assert open_rows(path, Choice()).total == 4
    assert [r.vector.tolist() for r in rows(path, Choice(fields=("2", "0")))] == X[
        :, [2, 0]
    ].tolist()


@pytest.mark.parametrize("kind", ["uint8", "int64", "float16", "float64", ">f4", "bool"])
def test_numbers_of_any_type_are_scaled_float32(tmp_path: Path, kind: str) -> None:
    raw = (X % 2).astype(kind)
    found = rows(npz(tmp_path, X=raw), Choice(scale=1 / 255))
    assert all(r.vector.dtype == np.float32 for r in found)
    wanted = raw.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(np.stack([r.vector for r in found]), wanted)


def test_npz_with_everything(tmp_path: Path) -> None:
    path = npz(
        tmp_path, X=X, name=np.array(["a", "b", "ü", "d"]), when=np.array([1, 2, 3, 4]),
        colour=np.array(["r", "g", "b", "r"]), n=np.arange(4, dtype=np.uint8),
    )  # fmt: skip
    choice = Choice(ids="name", time="when", payload=("colour", "n"))
    assert plain(path, choice)[2] == (X[2].tolist(), "ü", {"colour": "b", "n": 2}, 3.0)


def test_npz_side_by_side(tmp_path: Path) -> None:
    path = npz(tmp_path, lat=np.array([1.0, 2.0]), lon=np.array([3, 4]), X=X[:2])
    found = rows(path, Choice(fields=("lon", "lat")))
    assert [r.vector.tolist() for r in found] == [[3.0, 1.0], [4.0, 2.0]]


def test_times_are_seconds(tmp_path: Path) -> None:
    when = np.array(["1970-01-02T00:00:00.5", "1969-12-31T23:59:59"], "datetime64[ms]")
    path = npz(
        tmp_path, X=X[:2], when=when, text=np.array(["1970-01-02", "1970-01-01T01:00+01:00"])
    )
    assert [r.time for r in rows(path, Choice(time="when"))] == [86400.5, -1.0]
    assert [r.time for r in rows(path, Choice(time="text"))] == [86400.0, 0.0]


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (Choice(), r"--array or --fields: X \(4, 3\), Y \(4, 3\)"),
        (Choice(array="Z"), "no array 'Z'"),
        (Choice(array="short"), r"shape \(3,\)"),
        (Choice(array="X", ids="short"), r"short has shape \(3,\): one value for each of the 4"),
        (Choice(array="X", ids="half"), "half has double: ids are integers or strings"),
        (Choice(array="X", time="flag"), "flag has bool: a time is seconds"),
        (Choice(array="X", payload=("Y",)), "Y has shape"),
        (Choice(array="X", fields=("3",)), "columns from 0 to 2"),
        (Choice(array="names"), "it must be"),
        (Choice(array="boxed"), "no array 'boxed'"),
        (Choice(array="X", payload=("id",)), "every row has that itself"),
    ],
)
def test_what_an_npz_lacks_is_said(tmp_path: Path, choice: Choice, why: str) -> None:
    path = npz(
        tmp_path, X=X, Y=X, short=np.arange(3), half=np.arange(4) / 2, flag=np.arange(4) > 1,
        names=np.array([["a"], ["b"]]), boxed=np.array([{}, {}], object), id=np.arange(4),
    )  # fmt: skip
    with pytest.raises(UsageError, match=why):
        rows(path, choice)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], object))
    with pytest.raises(UsageError, match="cannot be read"):
        rows(path)


def table(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize("width", [3, -1])
@pytest.mark.parametrize("name", ["vector", "embedding", "values"])
def test_parquet_with_vectors(tmp_path: Path, width: int, name: str) -> None:
    kind = pa.list_(pa.float64(), width)
    path = table(
        tmp_path, **{name: pa.array(X.tolist(), kind)}, id=[7, 8, 9, 10], time=[1.5] * 4, n=[1] * 4
    )
    assert plain(path)[3] == (X[3].tolist(), "10", None, 1.5)
    choice = Choice(ids="n", payload=("id", "n"))
    with pytest.raises(UsageError, match="every row has that itself"):
        plain(path, choice)
    assert plain(path, Choice(payload=("n",)), start=3) == [(X[3].tolist(), "10", {"n": 1}, 1.5)]
    scaled = rows(path, Choice(array=name, scale=2.0))
    assert scaled[1].vector.tolist() == (X[1] * 2).tolist()


def test_parquet_with_columns_of_numbers(tmp_path: Path) -> None:
    days = pa.array([0, 1], pa.int32()).cast(pa.date32())
    path = table(
        tmp_path, a=[1, None], b=[0.5, 2.5], word=pa.array(["x", "y"]).dictionary_encode(), day=days
    )
    found = rows(path, Choice(time="day", payload=("word",)))
    assert (found[0].vector.tolist(), found[0].id) == ([1.0, 0.5], "0")
    # the tree refuses it by name: a hole in a number must not stop the file
    assert np.isnan(found[1].vector[0])
    assert [r.payload for r in found] == [{"word": "x"}, {"word": "y"}]
    assert [r.time for r in found] == [0.0, 86400.0]


def test_parquet_rows_of_different_lengths_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, vector=[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0]])
    with pytest.raises(UsageError, match="row 3: vector has 1 numbers"):
        rows(path)


def test_parquet_says_what_it_has(tmp_path: Path) -> None:
    path = table(tmp_path, a=["x"], b=[b"raw"])
    with pytest.raises(UsageError, match="--fields: a, b"):
        rows(path)
    with pytest.raises(UsageError, match="no column 'c': use a, b"):
        rows(path, Choice(fields=("c",)))
    with pytest.raises(UsageError, match="a has string: --array needs a list"):
        rows(path, Choice(array="a"))
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"no table")
    with pytest.raises(UsageError, match="cannot be read"):
        rows(empty)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x,id,y,word,when\n1,a,2.5,one,2020-01-01\n3,b,4,,2020-01-02T00:00:00\n")
    assert [r[:2] for r in plain(path)] == [([1.0, 2.5], "a"), ([3.0, 4.0], "b")]
    choice = Choice(fields=("y",), ids="x", payload=("word",), time="when")
    assert plain(path, choice, start=1) == [([4.0], "3", {"word": ""}, 1577923200.0)]
    assert open_rows(path, Choice()).total == 2


def test_csv_whole_numbers_first_and_fractions_later(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    count = 300_000
    path.write_text("x,y\n" + "1,2\n" * count + "1.5,2\n")
    file = open_rows(path, Choice())
    assert file.total == count + 1
    *_, last = file.pieces(count - 1, 1024)
    assert [r.vector.tolist() for r in given.rows_of(last)] == [[1.0, 2.0], [1.5, 2.0]]
    assert [r.id for r in given.rows_of(last)] == [str(count - 1), str(count)]


def lines(tmp_path: Path, *objects: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(o if isinstance(o, str) else json.dumps(o) for o in objects))
    return path


def test_jsonl_as_on_the_ingest_topic(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"id": "a", "vector": [1, 2], "payload": {"n": 1}, "time": 5},
        "",
        {"id": 7, "embedding": [3, 4], "payload": {"tags": ["x", 1]}, "time": "1970-01-02"},
        {"values": [5, 6]},
    )
    assert plain(path) == [
        ([1.0, 2.0], "a", {"n": 1}, 5.0),
        ([3.0, 4.0], "7", {"tags": ["x", 1]}, 86400.0),
        ([5.0, 6.0], "2", None, None),
    ]
    assert [r[1] for r in plain(path, start=2)] == ["2"]


def test_jsonl_by_names(tmp_path: Path) -> None:
    path = lines(
        tmp_path, {"key": "k", "a": 1, "b": 2, "word": "x", "payload": {"deep": 3}, "at": 9}
    )
    choice = Choice(fields=("b", "a"), ids="key", payload=("word", "deep"), time="at", scale=10.0)
    assert plain(path, choice) == [([20.0, 10.0], "k", {"word": "x", "deep": 3}, 9.0)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2"),
        ("[1]", "not a JSON object"),
        ('{"id": 1}', "no vector"),
        ('{"id": "", "vector": [1]}', "the id must be"),
        ('{"vector": [[1]]}', "not a flat list"),
        ('{"vector": ["x"]}', "line 2"),
        ('{"vector": [1], "time": "soon"}', "no ISO 8601 time"),
        ('{"vector": [1], "payload": 3}', "payload is not an object"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = lines(tmp_path, {"vector": [1]}, line)
    with pytest.raises(UsageError, match=why):
        rows(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_rows(tmp_path / "x.npy", Choice())
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UsageError, match=r"\.npy, \.npz"):
        open_rows(tmp_path / "x.txt", Choice())
