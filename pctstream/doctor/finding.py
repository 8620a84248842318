"""What the doctor says of one thing: one line, with what to do if it is not well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``said`` is what is so, ``fix`` what to do; ``exit_code`` is that of a failed check.

    >>> str(fail("java", "not found", "install it"))
    'fail  java         not found: install it'
    """

    check: str
    state: State
    said: str
    fix: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        said = f"{self.said}: {self.fix}" if self.fix else self.said
        return f"{self.state:<4}  {self.check:<11}  {' '.join(said.split())}"

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "state": self.state, "said": self.said, "fix": self.fix}


def ok(check: str, said: str) -> Finding:
    return Finding(check, "ok", said)


def warn(check: str, said: str, fix: str) -> Finding:
    """It works, not well or not for long."""
    return Finding(check, "warn", said, fix)


def fail(check: str, said: str, fix: str = "", exit_code: int = 1) -> Finding:
    """It does not work until somebody does something."""
    return Finding(check, "fail", said, fix, exit_code)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if nothing failed, 3 or 4 if the broker is away or refuses us, else 1."""
    return max((f.exit_code for f in findings), default=0)
