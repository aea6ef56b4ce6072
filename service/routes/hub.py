"""The protocol of the model hub: with ``HF_ENDPOINT`` at this service, ``jobs/<id>`` is a repository to its clients.

It is described by those who made it, and stands in no OpenAPI document of ours. Routes are as the client asks them.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from api_schemas.errors import LayercutError
from service.bodies import read_body
from service.callers import Own, Who
from service.downloads import send
from service.hub import answers
from service.hub.refusals import HubRoute
from service.hub.repositories import MAIN, OWNER, Repository
from service.published import Published
from service.state import State

router = APIRouter(route_class=HubRoute, include_in_schema=False)

MODEL = f"/api/models/{OWNER}/{{job_id}}"
FILE = f"/{OWNER}/{{job_id}}/resolve/{{revision}}/{{file:path}}"

#: Of a tree, on one page.
PAGE = 1000
#: Of one question about paths.
MOST_PATHS, MOST_PATH_BYTES = 1000, 256 * 1024


def _find(state: State, own: Own, job_id: str, revision: str = MAIN) -> Repository:
    return Repository(job_id, Published(state, own, job_id), revision)


#: The repository and the revision that the address names, of the caller's tenant.
Found = Annotated[Repository, Depends(_find)]


@router.get("/api/whoami-v2")
async def who_am_i(who: Who) -> JSONResponse:
    return JSONResponse(answers.caller(who.holder))


@router.get(MODEL)
@router.get(MODEL + "/revision/{revision:path}")
def describe(found: Found, own: Own, job_id: str, *, blobs: bool = False) -> JSONResponse:
    return JSONResponse(answers.description(found, own.get(job_id), blobs=blobs))


@router.get(MODEL + "/auth-check")
def check_access(found: Found) -> JSONResponse:
    return JSONResponse({"id": found.id})


@router.get(MODEL + "/refs")
def list_references(found: Found) -> JSONResponse:
    return JSONResponse(answers.references(found))


@router.get(MODEL + "/tree/{revision}")
@router.get(MODEL + "/tree/{revision}/{folder:path}")
def list_tree(
    found: Found,
    request: Request,
    folder: str = "",
    *,
    recursive: bool = False,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    cursor: str = "",
) -> JSONResponse:
    """A page of it; ``cursor`` is the last path of the page before."""
    all_entries = answers.entries(found, folder, recursive=recursive)
    rest = [entry for entry in all_entries if entry["path"] > cursor]
    page, headers = rest[:limit], {}
    if len(rest) > limit:
        following = request.url.include_query_params(cursor=page[-1]["path"])
        headers["Link"] = f'<{following}>; rel="next"'
    return JSONResponse(page, headers=headers)


async def _paths(request: Request) -> list[str]:
    """As the client sends them, in a form; or in JSON, as the hub's own pages do."""
    raw = await read_body(request, MOST_PATH_BYTES)
    try:
        body = raw.decode()
        found = json.loads(body)["paths"] if body.lstrip().startswith("{") else _of_form(body)
    except (ValueError, KeyError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) > MOST_PATHS or not all(isinstance(path, str) for path in found):
        raise LayercutError("malformed_request", f"send paths=…, as often as there are paths, {MOST_PATHS} at most")
    return found


def _of_form(body: str) -> list[str]:
    return parse_qs(body, max_num_fields=MOST_PATHS + 10).get("paths", [])


@router.post(MODEL + "/paths-info/{revision:path}")
def look_up(found: Found, paths: Annotated[list[str], Depends(_paths)]) -> JSONResponse:
    return JSONResponse(answers.at_paths(found, paths))


@router.head(FILE)
@router.get(FILE)
def get_file(found: Found, file: str, request: Request) -> Response:
    """As ``/v1/jobs/{id}/files/{name}``, with what the client keeps in its cache: commit, sha256 and size."""
    stored, published = found.find(file), found.published
    hand_over = partial(published.hand_over, stored, request.method)
    response = send(request, published.file(stored), is_fixed=found.is_fixed, hand_over=hand_over)
    response.headers.update(
        {"X-Repo-Commit": found.commit, "X-Linked-Etag": f'"{stored.sha256}"', "X-Linked-Size": str(stored.bytes)}
    )
    return response


@router.head("/{name:path}/resolve/{revision}/{file:path}")
@router.get("/{name:path}/resolve/{revision}/{file:path}")
@router.get("/api/models/{name:path}")
def refuse(request: Request) -> Response:
    """Every other repository."""
    raise LayercutError("not_found", f"{request.url.path[:200]}: the repositories here are {OWNER}/<id of a job>")
