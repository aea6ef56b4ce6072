"""`/docs`: the document as a page to read and try. Its script and style are files of a package on this machine.

No script stands in the page itself, so that its policy can forbid all that are not ours.
"""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from api_schemas.errors import LayercutError

router = APIRouter(include_in_schema=False)

#: Swagger UI writes `style` attributes, and draws its icons from `data:`.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY}

#: A day: they change with the package, and are asked for again then.
KEPT = {"Cache-Control": "public, max-age=86400"}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
<link rel="icon" href="{root}/docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""

START = """SwaggerUIBundle({
  url: document.currentScript.src.replace("/docs/start.js", "/openapi.json"),
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""

#: By name; nothing else of the package can be asked for.
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    title, root = escape(request.app.title), escape(request.scope.get("root_path", ""))
    return HTMLResponse(PAGE.format(title=title, root=root), headers=HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(START, media_type="text/javascript", headers=KEPT)


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    if name not in ASSETS:
        raise LayercutError("not_found", f"the docs page has no file {name[:80]!r}")
    return FileResponse(_folder() / name, media_type=ASSETS[name], headers=KEPT)


def _folder() -> Path:
    """Found without importing the package, which would bring an application of its own."""
    spec = find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
