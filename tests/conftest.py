"""Fixtures that every kind of test may use: a real broker, a tree of one's own, the shared data."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pctstream.broker import LocalBroker

ROOT = Path(__file__).parents[1]
_serial = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, those that take seconds fill up: so two workers that take one
    file after the other (`make test`) end together."""
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> int:
    return next((i for i, kind in enumerate(("sim", "broker")) if kind in path.parts), 2)


@dataclass(frozen=True)
class NamedBroker:
    """The running Kafka that PCT_BROKER names: not ours to stop."""

    bootstrap: str


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker | NamedBroker]:
    """A real Kafka broker for the whole run; tests that hurt a broker start their own."""
    named = os.environ.get("PCT_BROKER")
    if named:
        yield NamedBroker(named)
        return
    local = LocalBroker(tmp_path_factory.mktemp("kafka"))
    local.start()
    yield local
    local.stop()


@pytest.fixture
def tree_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test, and no earlier run on the same broker, has used."""
    test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"t{os.getpid()}-{next(_serial)}-{test}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of the optional data sets, else the test is skipped."""
    shared = Path(os.environ.get("PCT_SHARED") or ROOT.parent / "shared")
    if not (shared / "data").is_dir():
        pytest.skip("missing shared data")
    return shared / "data"
