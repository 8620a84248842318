"""The limits of the spatial index over HTTP: what is in force, and other ones while rows flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from pctstream.core.tuning import LIVE
from pctstream.errors import QueryRefused
from pctstream.http.body import body, json_object, short
from pctstream.http.moves import ordered
from pctstream.settings import SETTINGS

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


def add(app: FastAPI, worker: Worker, as_of: Callable[[], Any]) -> None:
    """The routes; of a worker whose `spatial.enabled`."""
    surveyor = worker.surveyor
    assert surveyor is not None

    def shown() -> dict[str, Any]:
        tuning = worker.routing.orders.tuning
        return {"config": surveyor.settings(), "live": list(LIVE), "changes": tuning.changes,
                "history": tuning.history, "as_of": as_of()}  # fmt: skip

    @app.get("/v1/spatial/config")
    async def config() -> dict[str, Any]:
        """The limits of the spatial index in force, and who changed what."""
        return shown()

    @app.put("/v1/spatial/config")
    async def change(request: Request) -> dict[str, Any]:
        """Other limits, in force at the next adjustment of every shard; null: as in the file again."""
        asked = json_object(await body(request), (*surveyor.settings(), "reason"))
        reason = short(asked, "reason")
        asked.pop("reason", None)
        if not asked:
            raise QueryRefused(f"nothing is to be changed: there are {', '.join(LIVE)}")
        wanted = {name: _value(name, value) for name, value in asked.items()}
        base = {name: value for name, value in _file(worker).items() if name in LIVE}
        order = {"do": "spatial", "set": wanted, "base": base, "reason": reason}
        answer = await ordered(worker, order)
        return shown() | {"seq": answer.seq}


def _file(worker: Worker) -> dict[str, Any]:
    return {name: getattr(worker.cfg.spatial, name) for name in LIVE}


def _value(name: str, value: Any) -> Any:
    if name not in LIVE:
        raise QueryRefused(f"{name} is fixed at the start of a worker; live are {', '.join(LIVE)}")
    setting = SETTINGS[f"spatial.{name}"]
    if value is None:
        return None
    try:
        return setting.allowed.read(value)
    except ValueError:
        raise QueryRefused(f"{name} = {value!r} must be {setting.allowed.text}") from None
