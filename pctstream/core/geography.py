"""Positions and distances: on a plane in the unit of x and y, on the globe in degrees and metres.

On the globe x is the longitude, y the latitude; the distance is the great circle's on a sphere of the
earth's mean radius. **The antimeridian**: longitudes are kept in [-180, 180), so 180 and -180 are one,
and a box whose west is above its east goes across and is searched as two. **The poles**: all longitudes
of a pole are one place for distances; a latitude beyond 90 is no position. What is no position is
refused with the reason, row by row.

A search must know how near a box can be. Along a meridian at the longitude difference D the cosine of the
distance is A sin(lat) + B cos(lat) with A = sin(lat0) and B = cos(lat0) cos(D): it has one maximum, at
atan2(A, B), if that is within the box and B > 0, else the nearest point is an end. So the nearest point
of a box is straight north or south of the point asked for, or on one of its two meridians.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pctstream.core.density_map import LARGEST
from pctstream.core.kernels import Float64
from pctstream.core.lanes import inlined
from pctstream.errors import QueryRefused

RADIUS_M = 6_371_008.8
"""Mean radius of the earth (IUGG), in metres."""
_RAD = math.pi / 180.0


@inlined
def metres(x: float, y: float, u: float, v: float) -> Any:
    """The distance of two positions in degrees (haversine)."""
    a = math.sin(0.5 * (v - y) * _RAD)
    b = math.sin(0.5 * (u - x) * _RAD)
    h = a * a + math.cos(y * _RAD) * math.cos(v * _RAD) * b * b
    return 2.0 * RADIUS_M * math.asin(math.sqrt(min(1.0, h)))


@inlined
def _to_meridian(x: float, y: float, lon: float, south: float, north: float) -> Any:
    """The distance to the nearest point of a piece of a meridian."""
    nearest = min(metres(x, y, lon, south), metres(x, y, lon, north))
    b = math.cos(y * _RAD) * math.cos((lon - x) * _RAD)
    if b > 0.0:
        top = math.atan2(math.sin(y * _RAD), b) / _RAD
        if south < top < north:
            nearest = min(nearest, metres(x, y, lon, top))
    return nearest


@inlined
def metres_to_box(x: float, y: float, box: Any) -> Any:
    """Not more than the distance to any position in a box, of which what is off the globe counts not."""
    west, east = max(box[0], -180.0), min(box[2], 180.0)
    south, north = max(box[1], -90.0), min(box[3], 90.0)
    if west <= x <= east:
        near = max(0.0, south - y, y - north) * _RAD * RADIUS_M
    else:
        near = min(_to_meridian(x, y, west, south, north), _to_meridian(x, y, east, south, north))
    # gives away more than the roundings of sines can make
    return max(0.0, near * (1.0 - 1e-9) - 1.0)


def is_globe(coordinates: str, x: str, y: str) -> bool:
    """What `spatial.coordinates` says of positions in these fields.

    >>> is_globe("auto", "lon", "lat"), is_globe("auto", "dim:0", "dim:1"), is_globe("globe", "a", "b")
    (True, False, True)
    """
    named = (x.lower(), y.lower()) in {("lon", "lat"), ("longitude", "latitude")}
    return coordinates == "globe" or (coordinates == "auto" and named)


def placed(x: Float64, y: Float64, *, globe: bool) -> tuple[Float64, Any, dict[str, int]]:
    """x as it is kept, which rows bool[n] have a position, and why how many others have none.

    >>> x, fine, why = placed(np.array([180.0, 0.0, 0.0]), np.array([0.0, 91.0, np.nan]), globe=True)
    >>> x[0], fine.tolist(), why
    (np.float64(-180.0), [True, False, False], {'not finite': 1, 'latitude beyond 90': 1})
    """
    finite = np.isfinite(x) & np.isfinite(y)
    faults = {"not finite": ~finite}
    if globe:
        faults["longitude beyond 180"] = finite & (np.abs(x) > 180.0)
        faults["latitude beyond 90"] = finite & (np.abs(y) > 90.0)
        x = np.where(x == 180.0, -180.0, x)
    else:
        beyond = (np.abs(x) > LARGEST) | (np.abs(y) > LARGEST)
        faults[f"beyond {LARGEST:g}"] = finite & beyond
    fine = finite.copy()
    for fault in faults.values():
        fine &= ~fault
    why = {name: int(fault.sum()) for name, fault in faults.items() if fault.any()}
    return x, fine, why


def boxes_of(box: tuple[float, ...], *, globe: bool) -> list[tuple[float, float, float, float]]:
    """The one or two boxes that are to be searched for a box x0, y0, x1, y1; QueryRefused for a bad one.

    >>> boxes_of((170.0, -10.0, -170.0, 10.0), globe=True)
    [(170.0, -10.0, 180.0, 10.0), (-180.0, -10.0, -170.0, 10.0)]
    >>> boxes_of((1.0, 0.0, 0.0, 1.0), globe=False)
    Traceback (most recent call last):
    pctstream.errors.QueryRefused: x0 = 1.0 is above x1 = 0.0
    """
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise QueryRefused(f"a box is four finite numbers x0, y0, x1, y1, not {list(box)}")
    x0, y0, x1, y1 = box
    if y0 > y1:
        raise QueryRefused(f"y0 = {y0} is above y1 = {y1}")
    if not globe:
        if x0 > x1:
            raise QueryRefused(f"x0 = {x0} is above x1 = {x1}")
        return [(x0, y0, x1, y1)]
    if max(abs(x0), abs(x1)) > 180.0:
        raise QueryRefused(f"longitudes {x0} and {x1} must be within -180 and 180")
    if max(abs(y0), abs(y1)) > 90.0:
        raise QueryRefused(f"latitudes {y0} and {y1} must be within -90 and 90")
    if x0 > x1:
        return [(x0, y0, 180.0, y1), (-180.0, y0, x1, y1)]
    # what lies at 180 is kept at -180
    return [(x0, y0, x1, y1)] + ([(-180.0, y0, -180.0, y1)] if x1 == 180.0 and x0 > -180.0 else [])


def point_of(point: tuple[float, ...], *, globe: bool) -> tuple[float, float]:
    """The position asked for; QueryRefused for one that is none."""
    if len(point) != 2:
        raise QueryRefused(f"a point is two numbers x, y, not {list(point)}")
    x, fine, why = placed(np.array(point[:1]), np.array(point[1:]), globe=globe)
    if not fine[0]:
        raise QueryRefused(f"{list(point)} is no position: {next(iter(why))}")
    return float(x[0]), float(point[1])
