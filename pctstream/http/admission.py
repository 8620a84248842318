"""Who may ask: whoever shows the token; and who answers: another tree's workers, once it was promoted.

Plain ASGI: Starlette's class for middleware sends every answer in pieces through a queue of its own, and on
a busy worker each of them waits for the interpreter.
"""

from __future__ import annotations

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pctstream import token
from pctstream.errors import Refused
from pctstream.http import problem
from pctstream.http.successor import Passing


class Admission:
    """Before every call of one worker's views."""

    def __init__(self, app: ASGIApp, wanted: token.Tokens | None, passing: Passing) -> None:
        self._app, self._wanted, self._passing = app, wanted, passing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive)) if scope["type"] == "http" else None
        await (self._app if answer is None else answer)(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """Without this worker's views; None: they are asked."""
        valid = None if self._wanted is None else self._wanted.valid()
        if token.allowed(valid, request.url.path, request.headers.get("authorization")):
            return await self._passing.answer(request)
        return problem.problem(Refused("send `Authorization: Bearer TOKEN` (http.token_file)"))
