"""The keys of a shard's database, in order.

a/<node>/<number>..  rows that a node of the portion's subtree keeps aside, from a number on: float32
b/<node>/            the Bloom filter of its ids as it was some time ago (`agents.blooms`)
c/<node>/<number>    the cover of a node of the portion's subtree
d/<node>/<name>/..   a directory of ids of N0 (`core.directory`)
g/<serial>           a node of the tree of regions (`core.regions`)
i/<topic>            position of an input: stored, routed, epoch, topic id, leader epoch
l/<node>/<offset>    the leaf of each row of a segment: numbers of nodes, int32
n/<node>             counts, marks and radius of a node, as JSON
o/<node>/<offset>    the numbers that rows of a purged segment of N0 had before (`purging`), int32
p/<node>/<offset>    the places of its rows, where a spatial index is kept (`core.places`)
r/<node>/<offset>    a segment: rows of one applied unit, as an Arrow block
t/<node>/<number>    a node of the portion's subtree: state and counts, as JSON
u/<node>/            how many of its rows were purged (`purging`), as JSON
v/                   the stamp: schema, version, tree, shard (`stamp`), as JSON
w/<node>/<offset>    the first origin of each source in a segment
x/<node>/<offset>    what left when the input was at this offset: (segment, row), int64
"""

from __future__ import annotations

import struct

from pctstream.core.block import Source
from pctstream.core.names import Path, node_name

BLOOM, COVERS, DIRECTORIES, REGIONS, INPUTS, LEAVES = b"b", b"c", b"d", b"g", b"i", b"l"
STATES, PLACES, ROWS, NODES, FIRSTS, LEFT = b"n", b"p", b"r", b"t", b"w", b"x"
PURGED, STAMP, ASIDE, NUMBERS = b"u", b"v", b"a", b"o"
OF_ROWS = (ROWS, LEAVES, FIRSTS, LEFT, PLACES, NUMBERS)
"""A node's rows and what is said of them."""
OF_A_PORTION = (*OF_ROWS, NODES, COVERS, ASIDE, BLOOM, PURGED)
"""What a portion holds, without the two keys that say it is whole."""
_OFFSET = struct.Struct(">q")
_NUMBER = struct.Struct(">i")


def of_kind(kind: bytes) -> bytes:
    """What all keys of a kind begin with.

    >>> of_kind(REGIONS)
    b'g/'
    """
    return kind + b"/"


def of_node(kind: bytes, path: Path) -> bytes:
    """What the keys of this kind begin with.

    >>> of_node(ROWS, (0, 3))
    b'r/N0,3/'
    """
    return of_kind(kind) + node_name(path).encode() + b"/"


def at_offset(kind: bytes, path: Path, offset: int) -> bytes:
    """Keys in the order of their offsets."""
    return of_node(kind, path) + _OFFSET.pack(offset)


def offset_of(key: bytes) -> int:
    """
    >>> offset_of(at_offset(LEFT, (0, 3), 1 << 40)) == 1 << 40
    True
    """
    return int(_OFFSET.unpack(key[-_OFFSET.size :])[0])


def of_number(kind: bytes, path: Path, number: int) -> bytes:
    """The key of a node of a portion, by its number there."""
    return of_node(kind, path) + _NUMBER.pack(number)


def of_aside(path: Path, number: int, first: int) -> bytes:
    """The key of rows that a node of a portion keeps aside, the first of them by its number.

    >>> number_of(of_aside((0, 3), 17, 5)[:-4])
    17
    """
    return of_number(ASIDE, path, number) + _NUMBER.pack(first)


def number_of(key: bytes) -> int:
    """
    >>> number_of(of_number(COVERS, (0, 3), 17))
    17
    """
    return int(_NUMBER.unpack(key[-_NUMBER.size :])[0])


def of_directory(path: Path, name: str) -> bytes:
    """What the keys of a directory of ids begin with."""
    return of_node(DIRECTORIES, path) + name.encode() + b"/"


def of_input(source: Source) -> bytes:
    """The key of an input's position."""
    return of_kind(INPUTS) + f"{source.topic}/{source.partition}".encode()


def of_state(path: Path) -> bytes:
    """The key of a node's counts."""
    return of_kind(STATES) + node_name(path).encode()
