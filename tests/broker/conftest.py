"""Every test in this directory talks to a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker.system import System
from confluent_kafka.admin import AdminClient

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.broker)


@pytest.fixture
def admin(broker: Any) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


@pytest.fixture
def system(broker: Any, tree_name: str, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Makes systems on the session's broker; all their workers are gone afterwards."""
    made: list[System] = []

    def make(**settings: object) -> System:
        given = {k.replace("__", "."): v for k, v in settings.items()}
        folder = tmp_path / f"data{len(made)}"
        folder.mkdir()
        name = tree_name if not made else f"{tree_name}-{len(made)}"
        made.append(System(broker.bootstrap, name, folder, given))
        return made[-1]

    yield make
    for one in made:
        one.stop()
