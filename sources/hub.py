"""The hub, through its own client, for which `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HOME` are.

What it says is read here, and by nothing that takes it for what it expects. The client's exceptions leave this file as
``LayercutError`` (the hub said no) or ``Unreachable`` (it said nothing, or what no hub would say).

``client`` imports what it downloads with at the first download: few gateways see one.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import huggingface_hub as client
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from pydantic import BaseModel, FailFast, Field, ValidationError

from api_schemas.errors import LayercutError
from sources.headers import Tensor, begin_of, invalid, layout_from
from sources.hub_client import Deadline, Unreachable, bounded
from sources.model_card import is_license
from sources.paths import What
from sources.strict_json import MIB, Limit, limit_of, parse

PARAMS: dict[What, str] = {"model": "/model", "dataset": "/task"}
#: Fifty thousand files.
DESCRIPTION = Limit(16 * MIB, 500_000)
#: Of a header, asked for first: few are longer.
FIRST_BYTES = 100_000
#: What an answer may have where a small file is asked for, such as the page of an error.
MIN_ANSWER = MIB
LONGEST_NAME = 1000

#: At the same time, as many as the client itself downloads.
DOWNLOADS = 8
#: Of one file: so long, and longer by its bytes. A slower hub is none.
DOWNLOAD_SECONDS, BYTES_PER_SECOND = 300, 5_000


class _Sibling(BaseModel, strict=True):
    rfilename: str
    size: int = Field(ge=0, le=2**60)


class _Description(BaseModel, strict=True):
    """What is read of a repository's description."""

    sha: str = Field(pattern="^[0-9a-f]{40}$")
    siblings: Annotated[list[_Sibling], FailFast()] = []
    card: Any = Field(default=None, alias="cardData")


@dataclass(frozen=True)
class Repo:
    """One revision of a repository; ``commit`` is its full hash, ``files`` maps names to bytes."""

    id: str
    commit: str
    license: str | None = None
    files: dict[str, int] = field(default_factory=dict)


def look(id: str, revision: str | None, deadline: Deadline, *, what: What = "model") -> Repo:
    """The commit behind ``revision`` (default: the main branch), and its files with their sizes in bytes."""
    path = f"api/{what}s/{id}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    said = f"the description of {what} {id!r}"
    with _errors(id, revision, what), bounded(deadline):
        body = _get(f"{constants.ENDPOINT}/{path}?blobs=true", DESCRIPTION.bytes + 1, deadline)
        if not body.startswith(b"{"):
            raise Unreachable(f"what answers for {id!r} is no hub")
        if len(body) > DESCRIPTION.bytes:
            raise invalid(f"{said} has more than {DESCRIPTION.bytes} bytes, which is more than is read")
        found = _described(parse(body, said, DESCRIPTION), said)
    files = {file.rfilename: file.size for file in found.siblings if _is_plain(file.rfilename)}
    return Repo(id, found.sha, _license(found.card), files)


def _described(found: Any, said: str) -> _Description:
    try:
        return _Description.model_validate(found)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise invalid(f"the hub's answer is not {said}: {place}: {wrong['msg']}") from None


def _is_plain(name: str) -> bool:
    """Whether it is a path within a folder; whatever else there is, is none of the files that are asked for."""
    parts = name.split("/")
    return len(name) <= LONGEST_NAME and "\\" not in name and name.isprintable() and not {"", ".", ".."} & {*parts}


def _license(card: Any) -> str | None:
    value = card.get("license") if isinstance(card, dict) else None
    return value if isinstance(value, str) and is_license(value) else None


def read_json(repo: Repo, name: str, deadline: Deadline) -> Any:
    """A small JSON file of ``repo``; raises ``model_invalid`` where it is too large, too deep or no JSON."""
    limit = limit_of(name)
    body = _read(repo, name, limit + 1, deadline)
    if len(body) > limit:
        raise invalid(f"{name} of {repo.id!r} has more than {limit} bytes, which is more than is read")
    return parse(body, name)


def read_header(repo: Repo, name: str, deadline: Deadline) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ``repo``, of which no more than its header is asked for."""
    size = repo.files[name]
    start = _start(repo, name, FIRST_BYTES, deadline) if size else b""
    begin = begin_of(start, size, name)
    header = start if begin <= len(start) else _start(repo, name, begin, deadline)
    return layout_from(header[8:begin], name, size).tensors


def _start(repo: Repo, name: str, most: int, deadline: Deadline) -> bytes:
    return _read(repo, name, most, deadline, Range=f"bytes=0-{most - 1}")


def _read(repo: Repo, name: str, most: int, deadline: Deadline, **headers: str) -> bytes:
    """The first ``most`` bytes of a file, whether the hub heeds a range or not."""
    url = client.hf_hub_url(repo.id, name, revision=repo.commit, endpoint=constants.ENDPOINT)
    with _errors(repo.id, repo.commit, "model"), bounded(deadline):
        return _get(url, most, deadline, **headers)


def _get(url: str, most: int, deadline: Deadline, **headers: str) -> bytes:
    body = bytearray()
    sent = {**build_hf_headers(), **headers}
    with get_session().stream("GET", url, headers=sent, timeout=deadline.left, follow_redirects=True) as response:
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        for block in response.iter_bytes():
            body += block
            if len(body) > most:
                break
    return bytes(body[:most])


def fetch(
    id: str,
    revision: str | None,
    *,
    what: What,
    ask: Callable[[], tuple[Repo, list[str]]],
    is_whole: Callable[[Path], bool],
    hint: str = "",
) -> Path:
    """The folder of the files of one revision, downloaded where the client's cache lacks them.

    ``ask`` puts first, bounded questions to the hub: it names the files, the one last that is to come when all others
    are there, and raises what speaks against the download. Where it raises ``Unreachable``, the cache must have a
    snapshot that ``is_whole``. Raises ``hub_unavailable``, with ``hint``, where it does not, and ``storage_full``.
    """
    try:
        try:
            repo, names = ask()
        except Unreachable as silence:
            return _from_cache(id, revision, what, is_whole, silence)
        return _download(repo, revision, names, what)
    except Unreachable as error:
        raise LayercutError(
            "hub_unavailable",
            f"{what} {id!r} is not in the cache, and the hub does not answer: {error}{hint}",
            param=PARAMS[what],
        ) from error


def cached(id: str, revision: str | None, *, what: What, is_whole: Callable[[Path], bool]) -> Path:
    """As ``fetch``, from the cache alone; raises ``Unreachable`` where it does not hold all of the revision."""
    with _errors(id, revision, what):
        # No patterns: which files must be there is not for the client to say.
        options: dict[str, Any] = {"local_files_only": True, "allow_patterns": []}
        folder = Path(client.snapshot_download(id, repo_type=what, revision=revision, **options))
    if not is_whole(folder):
        raise Unreachable(f"the cache holds a part of {what} {id!r} alone")
    return folder


def _from_cache(
    id: str, revision: str | None, what: What, is_whole: Callable[[Path], bool], silence: Unreachable
) -> Path:
    try:
        return cached(id, revision, what=what, is_whole=is_whole)
    except Unreachable:
        raise silence from None  # why the hub was silent says more than what the cache lacks


def _download(repo: Repo, revision: str | None, names: list[str], what: What) -> Path:
    """Each file by itself, so that what comes is bounded by what the description says of it."""
    large = next((name for name in names if repo.files[name] > constants.MAX_HTTP_DOWNLOAD_SIZE), None)
    if large is not None:
        text = f"{large} of {repo.id!r} has {repo.files[large]} bytes, more than comes without Xet, which is not used"
        raise LayercutError(f"{what}_invalid", text, param=PARAMS[what])
    lacking = [name for name in names if not _is_cached(repo, name, what)]
    _check_room(sum(repo.files[name] for name in lacking))
    *others, last = names
    with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download") as pool:
        list(pool.map(lambda name: _download_one(repo, name, what), others))
    folder = _download_one(repo, last, what)
    from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision as remember_revision  # noqa: PLC0415

    # The client does so where it is asked for a branch; but then the hub says again which commit that is.
    remember_revision(str(folder.parents[1]), revision or constants.DEFAULT_REVISION, repo.commit)
    return folder


def _is_cached(repo: Repo, name: str, what: What) -> bool:
    return isinstance(client.try_to_load_from_cache(repo.id, name, revision=repo.commit, repo_type=what), str)


def _check_room(size: int) -> None:
    folder = Path(constants.HF_HUB_CACHE).expanduser()
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    if size > free:
        text = f"the disk of the hub's cache has no room for the files: {size} bytes to fetch, {free} free"
        raise LayercutError("storage_full", text)


def _download_one(repo: Repo, name: str, what: What) -> Path:
    """The snapshot's folder, once the file is in it and has the size that was described."""
    size = repo.files[name]
    deadline = Deadline(DOWNLOAD_SECONDS + size / BYTES_PER_SECOND)
    with _errors(repo.id, repo.commit, what), bounded(deadline, max(size, MIN_ANSWER)):
        path = Path(client.hf_hub_download(repo.id, name, repo_type=what, revision=repo.commit))
        folder, found = path.parents[name.count("/")], path.stat().st_size
        if folder.name != repo.commit:
            raise Unreachable(f"it sends {name} of the commit {folder.name}, not of {repo.commit}")
        if found != size:
            raise Unreachable(f"it sends {found} bytes for {name}, which it says has {size}")
    return folder


@contextmanager
def _errors(id: str, revision: str | None, what: What) -> Iterator[None]:
    """The one place where whatever the client raises, by fault of the hub, becomes an error of ours."""
    try:
        yield
    except (Unreachable, MemoryError):
        raise
    except LayercutError as error:
        # The client's guard does not know what is asked for.
        code = error.code.replace("model", what)
        raise LayercutError(code, error.message, param=PARAMS[what]) from None
    except Exception as error:
        if _is_local(error):
            raise
        raise _translated(error, id, revision, what) from error


def _is_local(error: Exception) -> bool:
    """Whether this machine's own disk is at fault; raises ``storage_full`` where it is full."""
    if not isinstance(error, OSError) or error.errno is None:
        return False
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise LayercutError("storage_full", "the disk of the hub's cache is full") from error
    return True


def _translated(error: Exception, id: str, revision: str | None, what: What) -> Exception:
    row = next((row for kind, row in _REFUSALS.items() if isinstance(error, kind)), None)
    if row is None and isinstance(error, HfHubHTTPError):
        row = _STATUSES.get(error.response.status_code)
    if row is None:
        return Unreachable(reason_of(error))
    code, text = row
    return LayercutError(
        f"{what}_{code}",
        text.format(what=what, id=id, revision=revision),
        param=PARAMS[what] + ("/revision" if isinstance(error, RevisionNotFoundError) and what == "model" else ""),
    )


def reason_of(error: Exception) -> str:
    """What the client says went wrong, in a line without passwords."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    # The first line, as the client appends advice and request ids; and no password that HF_ENDPOINT may hold.
    first = str(error).split("\n", 1)[0][:300] or type(error).__name__
    return re.sub(r"//[^/@\s]+@", "//", first)


# Order matters: GatedRepoError is a RepositoryNotFoundError, and most are HfHubHTTPErrors.
_REFUSALS: dict[type[Exception], tuple[str, str]] = {
    GatedRepoError: (
        "not_allowed",
        "{what} {id!r} is gated: accept its terms on the hub, and give a token by HF_TOKEN",
    ),
    DisabledRepoError: ("not_allowed", "the hub has disabled {what} {id!r}"),
    RepositoryNotFoundError: (
        "not_found",
        "the hub has no {what} {id!r}, or it is private and HF_TOKEN does not open it",
    ),
    RevisionNotFoundError: ("not_found", "{what} {id!r} has no revision {revision!r}"),
}
_STATUSES: dict[int, tuple[str, str]] = {
    401: ("not_allowed", "the hub does not let us read {what} {id!r}: HF_TOKEN is missing or wrong"),
    403: ("not_allowed", "the hub does not let us read {what} {id!r}: HF_TOKEN has no right to it"),
    404: ("not_found", "the hub has no {what} {id!r}, or lacks a file of it"),
}
