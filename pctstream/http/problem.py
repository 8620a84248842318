"""Every error of the views as problem+json (RFC 9457), told apart by its `type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from pctstream.errors import PctError, QueryRefused


def problem(error: PctError, more: Mapping[str, Any] | None = None) -> JSONResponse:
    """The answer that an error is, with more members if there are any."""
    headers = {"Retry-After": "1"} if error.retriable else {}
    body = {"type": f"about:blank#{error.code}", "title": error.code, "status": error.status,
            "detail": str(error), **(more or {})}  # fmt: skip
    return JSONResponse(body, error.status, headers, "application/problem+json")


def add(app: FastAPI) -> None:
    """Answer errors of ours, and parameters of the wrong type, with a problem."""

    @app.exception_handler(PctError)
    async def ours(_: Request, error: PctError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def mistyped(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(QueryRefused(f"{where}: {first['msg']}"))
