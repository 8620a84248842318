"""The page at `/`: files that come with the package, sent with rules that let nothing else in.

The page runs its own scripts and styles, asks its own origin, and may not make markup out of text
(`require-trusted-types-for`): an id or a payload that looks like HTML stays text, whatever a mistake
in the page would do with it. It tells nothing by itself, so it needs no token; what it asks does.

`/docs` shows `/openapi.json` by Swagger UI, which makes markup and styles of its own: its rules allow
that, and no other origin either.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from fastapi import FastAPI, Request, Response

from pctstream.errors import NotFound

FOLDER = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8", ".json": "application/json",
}  # fmt: skip
POLICY = "; ".join(
    ("default-src 'none'", "script-src 'self'", "style-src 'self'", "font-src 'self'",
     "img-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
     "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'")
)  # fmt: skip
LOOSER = "; ".join(
    ("default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "font-src 'self'",
     "img-src 'self' data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
     "frame-ancestors 'none'")
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache",
}  # fmt: skip


class Assets:
    """The files of the page, read once, when they are first asked for."""

    @cached_property
    def files(self) -> dict[str, tuple[bytes, str, str]]:
        """Name -> content, media type, entity tag."""
        found = {}
        for path in sorted(FOLDER.rglob("*")):
            if path.suffix in KINDS:
                content = path.read_bytes()
                tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                found[path.relative_to(FOLDER).as_posix()] = content, KINDS[path.suffix], tag
        return found

    def answer(self, name: str, known: str | None) -> Response:
        """A file; without its content if the caller has it (``known``: If-None-Match)."""
        if name not in self.files:
            raise NotFound(f"the page has no file {name!r}")
        content, kind, tag = self.files[name]
        headers = HEADERS | {"ETag": tag}
        if name == "docs.html":
            headers["Content-Security-Policy"] = LOOSER
        if known == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)


def add(app: FastAPI) -> None:
    """The routes."""
    assets = Assets()

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return assets.answer("index.html", request.headers.get("if-none-match"))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return assets.answer("docs.html", request.headers.get("if-none-match"))

    @app.get("/page/{name:path}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        return assets.answer(name, request.headers.get("if-none-match"))
