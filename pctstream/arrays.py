"""Rows from .npy (one array) and .npz (arrays by name, of equal length). Never unpickles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import given
from pctstream.errors import UsageError
from pctstream.files import Choice, Piece, id_column, numbers, payload_column, time_column

Array = npt.NDArray[Any]


class ArrayFile:
    """The vectors are the array of `--array`, else the only 2-d one; `--fields` picks columns of it
    by number, or else names 1-d arrays to be put side by side."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self._choice = choice
        if path.suffix == ".npy":
            self._arrays: dict[str, Array] = {
                path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
            }
        else:
            self._arrays = _load(path)
        self._vectors = self._pick(path)
        self.total: int | None = len(self._vectors[0])
        for name in (choice.ids, choice.time, *choice.payload):
            if name and self._named(name).shape != (self.total,):
                raise UsageError(
                    f"{name} has shape {self._arrays[name].shape}: one value for each of the"
                    f" {self.total} rows is needed"
                )

    def pieces(self, start: int, rows: int) -> Iterator[Piece]:
        choice, total = self._choice, self.total or 0
        for at in range(start, total, rows):
            stop = min(at + rows, total)
            parts = [array[at:stop].reshape(stop - at, -1) for array in self._vectors]
            yield given.batch(
                choice.scaled(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)),
                id_column(self._column(choice.ids, at, stop), choice.ids)
                if choice.ids
                else numbers(at, stop - at),
                time_column(self._column(choice.time, at, stop), choice.time)
                if choice.time
                else None,
                {
                    name: payload_column(self._column(name, at, stop), name)
                    for name in choice.payload
                },
            )

    def _pick(self, path: Path) -> list[Array]:
        """The arrays that stand side by side as the vector."""
        choice = self._choice
        if choice.fields and not choice.array and not all(f.isdigit() for f in choice.fields):
            found = [self._named(name) for name in choice.fields]
            if len({len(a) for a in found if a.ndim == 1}) != 1 or any(a.ndim != 1 for a in found):
                raise UsageError("--fields: the arrays must be 1-d and of equal length")
        else:
            found = [self._whole(path)]
        for array in found:
            if array.dtype.kind not in "biuf":
                raise UsageError(f"{path}: the vector has {array.dtype}: it must be numbers")
        return found

    def _whole(self, path: Path) -> Array:
        choice = self._choice
        array = self._named(choice.array or self._only(path))
        if array.ndim != 2 or not array.shape[1]:
            raise UsageError(f"{path}: the vectors have shape {array.shape}: it must be [rows, d]")
        if choice.fields:
            try:
                return np.asarray(array[:, [int(f) for f in choice.fields]])
            except (IndexError, ValueError):
                last = array.shape[1] - 1
                raise UsageError(f"--fields: numbers of columns from 0 to {last}") from None
        return array

    def _only(self, path: Path) -> str:
        flat = [name for name, array in self._arrays.items() if array.ndim == 2]
        if len(flat) != 1:
            shapes = ", ".join(f"{n} {a.shape}" for n, a in self._arrays.items())
            raise UsageError(f"{path}: name the vectors with --array or --fields: {shapes}")
        return flat[0]

    def _named(self, name: str) -> Array:
        if name not in self._arrays:
            raise UsageError(f"there is no array {name!r}: use {', '.join(self._arrays)}")
        return self._arrays[name]

    def _column(self, name: str, start: int, stop: int) -> pa.Array:
        try:
            return pa.array(np.ascontiguousarray(self._arrays[name][start:stop]))
        except pa.ArrowException as error:
            raise UsageError(f"{name}: {error}") from None


def _load(path: Path) -> dict[str, Array]:
    """Every array that can be loaded without unpickling."""
    arrays: dict[str, Array] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError:
                # objects, which only pickle could read: nobody can name it as a column
                continue
    return arrays
