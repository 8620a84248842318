"""Recorded loads of portions: .csv and .npz.

A .csv has a header of portions (N0.3, or "N0,3" in quotes) and one row per window; an .npz has the
array `loads` [windows, portions] and, if it likes, `portions`, their names. All in rows/s.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from pctstream.core.layout import Float64
from pctstream.core.names import Path as NodePath
from pctstream.core.names import node_path
from pctstream.errors import UsageError

CELLS = 50_000_000
"""Windows x portions at most."""


def read_series(path: Path) -> tuple[list[NodePath], Float64]:
    """The portions and their loads, f64[T, P] in rows/s; a UsageError says what is wrong."""
    if path.suffix == ".csv":
        names, loads = _csv(path)
    elif path.suffix == ".npz":
        names, loads = _npz(path)
    else:
        raise UsageError(f"{path}: a series is a .csv or an .npz")
    if loads.ndim != 2 or not loads.size or loads.size > CELLS or len(names) != loads.shape[1]:
        raise UsageError(
            f"{path}: loads of shape {loads.shape} for {len(names)} portions: windows x portions, "
            f"at most {CELLS:,} together"
        )
    if not (np.isfinite(loads).all() and (loads >= 0.0).all()):
        raise UsageError(f"{path}: a load is a finite number of rows/s, at least 0")
    paths = [node_path(name) for name in names]
    if len(set(paths)) < len(paths):
        raise UsageError(f"{path}: a portion is named twice")
    return paths, loads


def _csv(path: Path) -> tuple[list[str], Float64]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        names = [name.strip() for name in next(lines, [])]
        values = []
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            try:
                values.append([float(value) for value in line])
            except ValueError as error:
                raise UsageError(f"{path}, line {number}: {error}") from None
            if len(line) != len(names):
                raise UsageError(
                    f"{path}, line {number}: {len(line)} values for {len(names)} portions"
                )
    return names, np.array(values, np.float64).reshape(len(values), len(names))


def _npz(path: Path) -> tuple[list[str], Float64]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "loads" not in file:
                raise UsageError(f"{path}: no array `loads`, but {', '.join(file)}")
            loads = np.asarray(file["loads"], np.float64)
            wide = loads.shape[1] if loads.ndim == 2 else 0
            names = [str(n) for n in file["portions"]] if "portions" in file else []
    except (ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not an .npz of numbers ({error})") from None
    return names or [f"N0.{i}" for i in range(wide)], loads
