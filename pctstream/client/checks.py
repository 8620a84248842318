"""What can be no row, said before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core.fields import ID_BYTES
from pctstream.core.given import Row
from pctstream.core.piles import ROW_BYTES
from pctstream.errors import RowRefused

_LONG_ID = f"an id may have {ID_BYTES:,} bytes of UTF-8: it is asked for in an address"


def check_ids(ids: pa.Array) -> None:
    """RowRefused for the first id that the tree would refuse; integers are short."""
    if pa.types.is_integer(ids.type) or not len(ids):
        return
    lengths = pc.min_max(pc.binary_length(ids)).as_py()
    if (lengths["max"] or 0) > ID_BYTES:
        raise RowRefused("id", _LONG_ID)
    if lengths["min"] == 0:
        raise RowRefused("id", "an id cannot be empty: leave it out if there is none")


def checked(
    vector: Any, id: str | int | None, payload: Mapping[str, Any] | None, time: float | None
) -> Row:
    """A row of its own; RowRefused."""
    try:
        with np.errstate(over="ignore"):
            row = np.array(vector, np.float32)
        text = (
            b"null" if payload is None else orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        )
    except (ValueError, TypeError) as error:
        raise RowRefused("schema", f"not a row: {error}") from None
    if row.ndim != 1 or not len(row):
        raise RowRefused("schema", f"a vector is a flat list of numbers, not of shape {row.shape}")
    if id == "":
        raise RowRefused("id", "an id cannot be empty: leave it out if there is none")
    if len(str(id).encode()) > ID_BYTES:
        raise RowRefused("id", _LONG_ID)
    size = row.nbytes + len(text)
    if size > ROW_BYTES:
        raise RowRefused("too-large", f"a row of {size:,} bytes; {ROW_BYTES:,} may go")
    # a copy, so that the caller may change its own
    return Row(row, None if id is None else str(id), orjson.loads(text), time)
