"""Every error of the views as problem+json (RFC 9457), told apart by its `type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pctstream.errors import NotFound, PctError, QueryRefused, UsageError


def problem(
    error: PctError, more: Mapping[str, Any] | None = None, status: int | None = None
) -> JSONResponse:
    """The answer that an error is, with more members if there are any; ``status``: not the error's own."""
    status = error.status if status is None else status
    headers = {"Retry-After": "1"} if error.retriable else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {"type": f"about:blank#{error.code}", "title": error.code, "status": status,
            "detail": str(error), **(more or {})}  # fmt: skip
    return JSONResponse(body, status, headers, "application/problem+json")


def add(app: FastAPI) -> None:
    """Answer errors of ours, and parameters of the wrong type, with a problem."""

    @app.exception_handler(PctError)
    async def ours(_: Request, error: PctError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def foreign(_: Request, error: HTTPException) -> JSONResponse:
        """No such address, or not by this method."""
        kind = NotFound if error.status_code == 404 else UsageError
        return problem(kind(str(error.detail)), status=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def mistyped(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(QueryRefused(f"{where}: {first['msg']}"))
