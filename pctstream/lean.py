"""What other packages would load into a worker though nothing here asks for it.

pyarrow looks for pandas the first time it makes an array: 0.35 s of CPU at every start and some 40 MB,
for conversions that are not used here. It looks once, so it may look while there is none to be found.
Whoever needs pandas later (statsmodels, in the worker that forecasts) imports it as ever.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def without_pandas() -> None:
    """pyarrow does without pandas in this process; nothing changes where it was loaded already."""
    absent = _NoPandas()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)
