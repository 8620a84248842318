"""The life of a node, as a table; an illegal step is refused and changes nothing.

    covering --cover found--> waiting --level opened--> splitting
        \\--too large--> sink <--too large--/
    leaf (at the lowest level: never scanned)

A splitting node whose rows come to lie beyond its cover looks for more of it while it goes on routing:

    splitting --bound broken--> splitting, scanning --cover grown, scan in vain--> splitting

A sink below the cut looks now and then whether its rows have a cover by now (`sink`):

    sink --covered late--> splitting

The numbers are the seed's node modes: 0 covering, 1 cover found, 2 splitting. A leaf never
left mode 0, nor did a sink.
"""

from __future__ import annotations

from pctstream.errors import IllegalTransition

COVERING, WAITING, SPLITTING, SINK, LEAF = "covering", "waiting", "splitting", "sink", "leaf"
COVER_FOUND, TOO_LARGE, LEVEL_OPENED = "cover found", "too large", "level opened"
BOUND_BROKEN, COVER_GROWN, IN_VAIN = "bound broken", "cover grown", "scan in vain"
COVERED_LATE = "covered late"

MODES = {COVERING: 0, WAITING: 1, SPLITTING: 2, SINK: 0, LEAF: 0}

TRANSITIONS = {
    (COVERING, COVER_FOUND): WAITING,
    (COVERING, TOO_LARGE): SINK,
    (WAITING, LEVEL_OPENED): SPLITTING,
    (WAITING, TOO_LARGE): SINK,
    (SPLITTING, BOUND_BROKEN): SPLITTING,
    (SPLITTING, COVER_GROWN): SPLITTING,
    (SPLITTING, IN_VAIN): SPLITTING,
    (SINK, COVERED_LATE): SPLITTING,
}


def step(state: str, event: str) -> str:
    """The state after the event.

    >>> step(COVERING, COVER_FOUND)
    'waiting'
    >>> step(SPLITTING, COVER_FOUND)
    Traceback (most recent call last):
    pctstream.errors.IllegalTransition: a splitting node cannot take 'cover found'
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a {state} node cannot take {event!r}") from None
