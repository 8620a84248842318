"""A density map as a picture: dark is empty, bright is crowded, on a scale of powers."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

STOPS = ((13, 8, 60), (110, 20, 120), (200, 60, 90), (250, 150, 50), (252, 250, 180))
"""Colours from few rows to most; no rows at all are black."""
SIDE = 512
"""The shorter side of the picture is about so many pixels."""


def png(counts: npt.NDArray[np.int64]) -> bytes:
    """A PNG of counts i64[nx, ny], x to the right and y upwards.

    >>> picture = png(np.array([[0, 1], [10, 100]]))
    >>> picture[:8], struct.unpack(">II", picture[16:24])
    (b'\\x89PNG\\r\\n\\x1a\\n', (512, 512))
    """
    scale = max(1, SIDE // min(counts.shape))
    shades = np.zeros(counts.shape, np.uint8)
    if counts.max(initial=0) > 0:
        share = np.log1p(np.maximum(counts, 0)) / np.log1p(counts.max())
        shades = np.where(counts > 0, 1 + np.round(share * 254), 0).astype(np.uint8)
    image = np.kron(shades.T[::-1], np.ones((scale, scale), np.uint8))
    height, width = image.shape
    raw = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: none
    raw[:, 1:] = image
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"PLTE", _palette()), (b"IDAT", zlib.compress(raw.tobytes())),
              (b"IEND", b""))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def _palette() -> bytes:
    at = np.linspace(0, len(STOPS) - 1, 255)
    columns = [np.interp(at, range(len(STOPS)), column) for column in zip(*STOPS, strict=True)]
    return bytes(3) + np.stack(columns, axis=1).round().astype(np.uint8).tobytes()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
