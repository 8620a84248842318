"""Every error that pctstream raises on purpose.

An error is told apart by its class and its attributes, never by its text:
`code` is the stable name (the `type` of an HTTP problem, a label of a metric),
`retriable` says that the same call may succeed later without a change,
`status` is the HTTP status and `exit_code` the exit code of a command
(0 ok, 1 a check failed, 2 usage, 3 broker unreachable, 4 refused, 5 data loss).
The message is one line that says what happened and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar

DEAD_LETTER_CODES = (
    "dimension",
    "not-finite",
    "norm",
    "zero-vector",
    "decode",
    "truncated",
    "too-large",
    "id",
    "schema",
    "apply",
)
"""Why a row can be refused: the values of the header `pct.error.code` on the dead letter topic."""


class PctError(Exception):
    """The root of pctstream's errors; carries `code`, `retriable`, `status`, `exit_code`.

    >>> error = NotFound("node N0,9 is not in the tree: list them with `pctstream status`")
    >>> error.code, error.status, error.exit_code, error.retriable
    ('not-found', 404, 1, False)
    """

    code: str = "error"
    retriable: ClassVar[bool] = False
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(PctError):
    """A setting is unknown, impossible, or contradicts what the tree was begun with."""

    code = "config"
    status = 422
    exit_code = 2


class UsageError(PctError):
    """A command or call was given arguments that cannot be meant."""

    code = "usage"
    status = 400
    exit_code = 2


class QueryRefused(UsageError):
    """A question to the views that has no meaning for this tree."""

    code = "query"
    status = 422


class Unreadable(PctError):
    """Something that was saved, or came from another worker, is not what was written."""

    code = "unreadable"


class NotAcceptable(UsageError):
    """None of the media types that the caller accepts is one that the view has."""

    code = "not-acceptable"
    status = 406


class TooLarge(UsageError):
    """The body of a request is larger than the view reads."""

    code = "too-large"
    status = 413


class BrokerUnreachable(PctError):
    """No Kafka broker answers at the address in use."""

    code = "broker-unreachable"
    retriable = True
    status = 503
    exit_code = 3


class JarsMissing(PctError):
    """The local broker's jars, or Java or Maven to get and run them, are not there."""

    code = "jars-missing"
    status = 503
    exit_code = 3


class Refused(PctError):
    """The broker or the HTTP server does not accept who is asking."""

    code = "refused"
    status = 401
    exit_code = 4


class DataLoss(PctError):
    """Rows that were ingested are lost or doubled."""

    code = "data-loss"
    status = 500
    exit_code = 5


class InputBroken(PctError):
    """An input's log does not continue where the store stopped (rule R1)."""

    code = "input-broken"
    status = 503
    exit_code = 5


class InputLost(InputBroken):
    """Rows that were not read yet are gone from their log: retention, or somebody, removed them."""

    code = "input-lost"


class StoreFailed(PctError):
    """The store refused a write or a read; the worker ends and resumes from its watermarks."""

    code = "store-failed"
    status = 507


class StoreDamaged(StoreFailed):
    """The store's files are not what was written; its shard is made again from its logs (R0)."""

    code = "store-damaged"


class DeliveryFailed(PctError):
    """The broker did not take a message; the worker ends and resumes from its watermarks (R2)."""

    code = "delivery-failed"
    status = 503


class NotReady(PctError):
    """The answer is not there yet: the worker rebuilds, rejoins or catches up."""

    code = "not-ready"
    retriable = True
    status = 503


class Misdirected(PctError):
    """Another worker hosts the shard that is asked for: `GET /v1/shards` tells where it is."""

    code = "misdirected"
    retriable = True
    status = 421


class Busy(PctError):
    """More questions at once than the worker takes."""

    code = "busy"
    retriable = True
    status = 429


class Late(PctError):
    """A question was not answered within its time."""

    code = "late"
    retriable = True
    status = 504


class NotFound(PctError):
    """No such node, row, shard, portion, move or table."""

    code = "not-found"
    status = 404


class Gone(PctError):
    """It was there once; what is asked of it is not kept any more."""

    code = "gone"
    status = 410


class IllegalTransition(PctError):
    """A state machine was asked for a step that its table does not have."""

    code = "illegal-transition"
    status = 409


class RowRefused(PctError):
    """One row (or one message that cannot be decoded) goes to the dead letter topic.

    `code` is given per row and is one of `DEAD_LETTER_CODES`.

    >>> RowRefused("dimension", "3 numbers, the tree has 2: check the producer").code
    'dimension'
    """

    code = "row"
    status = 422

    def __init__(self, code: str, message: str) -> None:
        if code not in DEAD_LETTER_CODES:
            raise ValueError(f"{code!r} is no dead letter code: use one of {DEAD_LETTER_CODES}")
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[RowRefused], tuple[str, str]]:
        """Keep the code when the error crosses a process (the default would drop it)."""
        return type(self), (self.code, self.message)
