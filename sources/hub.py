"""The hub, through its own client, for which `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HOME` are.

Its exceptions leave this file as ``LayercutError`` (the hub said no) or ``Unreachable`` (it said nothing).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from api_schemas.errors import LayercutError
from sources.headers import Tensor, checked_tensors, invalid
from sources.hub_client import bounded
from sources.paths import What
from sources.strict_json import limit_of, parse

PARAMS: dict[What, str] = {"model": "/model", "dataset": "/task"}


class Unreachable(Exception):
    """The hub did not answer, in time or at all, or must not be asked; and the cache does not hold what is wanted."""


@dataclass(frozen=True)
class Repo:
    """One revision of a repository; ``commit`` is its full hash, ``files`` maps names to bytes."""

    id: str
    commit: str
    license: str | None = None
    files: dict[str, int] = field(default_factory=dict)


class Deadline:
    """Seconds left, for several requests that share one limit."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Raises ``Unreachable`` when nothing is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unreachable("the hub took too long")
        return left


def look(id: str, revision: str | None, deadline: Deadline, *, what: What = "model") -> Repo:
    """The commit behind ``revision`` (default: the main branch), and its files with their sizes in bytes."""
    with _errors(id, revision, what), bounded(lambda: deadline.left):
        info = _repo_info(id, revision, deadline, what)
    return Repo(
        id=id,
        commit=info.sha or constants.DEFAULT_REVISION,
        license=_license(getattr(info, "card_data", None)),
        files={file.rfilename: file.size or 0 for file in getattr(info, "siblings", None) or []},
    )


def _repo_info(id: str, revision: str | None, deadline: Deadline, what: What) -> Any:
    try:
        info = _api().repo_info(id, repo_type=what, revision=revision, files_metadata=True, timeout=deadline.left)
        if not re.fullmatch("[0-9a-f]{40}", info.sha or "0" * 40):
            raise ValueError(info.sha)
    except json.JSONDecodeError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
        # The client takes what it is told for what it expects.
        text = f"what the hub says of {what} {id!r} is no description of a repository"
        raise LayercutError(f"{what}_invalid", text, param=PARAMS[what]) from None
    return info


def read_json(repo: Repo, name: str, deadline: Deadline) -> Any:
    """A small JSON file of ``repo``; raises ``model_invalid`` where it is too large, too deep or no JSON."""
    limit = limit_of(name)
    url = hf_hub_url(repo.id, name, revision=repo.commit, endpoint=constants.ENDPOINT)
    body = bytearray()
    with _errors(repo.id, repo.commit, "model"):
        headers = build_hf_headers()
        with get_session().stream(
            "GET", url, headers=headers, timeout=deadline.left, follow_redirects=True
        ) as response:
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            for block in response.iter_bytes():
                body += block
                if len(body) > limit:
                    raise invalid(f"{name} of {repo.id!r} has more than {limit} bytes, which is more than is read")
                _ = deadline.left  # raises when nothing is
    return parse(bytes(body), name)


def read_header(repo: Repo, name: str, deadline: Deadline) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ``repo``: a Range request for its header."""
    with _errors(repo.id, repo.commit, "model"), bounded(lambda: deadline.left):
        try:
            header = _api().parse_safetensors_file_metadata(repo.id, name, revision=repo.commit, timeout=deadline.left)
        except (LookupError, TypeError, AttributeError, RecursionError):
            raise invalid(f"{name} of {repo.id!r} has a header that is not that of a safetensors file") from None
    rows = {
        key: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": tensor.data_offsets}
        for key, tensor in header.tensors.items()
    }
    return checked_tensors(rows, name)


def fetch(
    id: str, revision: str | None, patterns: list[str], *, what: What, ask: Callable[[], Any], hint: str = ""
) -> Path:
    """The folder of the files of one revision, downloaded where the client's cache lacks them.

    ``ask`` puts a first, bounded question to the hub and raises what speaks against the download; where it raises
    ``Unreachable``, the cache must have the files. Raises ``hub_unavailable``, with ``hint``, where it does not.
    """
    try:
        try:
            ask()
        except Unreachable as silence:
            return _from_cache(id, revision, patterns, what, silence)
        return _snapshot(id, revision, patterns, what)
    except Unreachable as error:
        raise LayercutError(
            "hub_unavailable",
            f"{what} {id!r} is not in the cache, and the hub does not answer: {error}{hint}",
            param=PARAMS[what],
        ) from error


def cached(id: str, revision: str | None, patterns: list[str], *, what: What) -> Path:
    """As ``fetch``, from the cache alone; raises ``Unreachable`` where it does not hold the revision."""
    return _snapshot(id, revision, patterns, what, local_files_only=True)


def _from_cache(id: str, revision: str | None, patterns: list[str], what: What, silence: Unreachable) -> Path:
    try:
        return cached(id, revision, patterns, what=what)
    except Unreachable:
        raise silence from None  # why the hub was silent says more than what the cache lacks


def _snapshot(id: str, revision: str | None, patterns: list[str], what: What, **options: Any) -> Path:
    with _errors(id, revision, what):
        folder = snapshot_download(id, repo_type=what, revision=revision, allow_patterns=patterns, **options)
    return Path(folder)


def _api() -> HfApi:
    return HfApi(endpoint=constants.ENDPOINT)


def _license(card: Any) -> str | None:
    value = card.get("license") if card else None
    return value if isinstance(value, str) else None


@contextmanager
def _errors(id: str, revision: str | None, what: What) -> Iterator[None]:
    try:
        yield
    except _CAUGHT as error:
        raise _translated(error, id, revision, what) from error


def _translated(error: Exception, id: str, revision: str | None, what: What) -> Exception:
    row = next((row for kind, row in _REFUSALS.items() if isinstance(error, kind)), None)
    if row is None and isinstance(error, HfHubHTTPError):
        row = _STATUSES.get(error.response.status_code)
    if row is None:
        return Unreachable(_reason(error))
    code, text = row
    return LayercutError(
        f"{what}_{code}",
        text.format(what=what, id=id, revision=revision, error=error),
        param=PARAMS[what] + ("/revision" if isinstance(error, RevisionNotFoundError) and what == "model" else ""),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    # The first line, as the client appends advice and request ids; and no password that HF_ENDPOINT may hold.
    first = str(error).split("\n", 1)[0] or type(error).__name__
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
    SafetensorsParsingError: ("invalid", "a safetensors file of {id!r} is broken: {error}"),
}
_STATUSES: dict[int, tuple[str, str]] = {
    401: ("not_allowed", "the hub does not let us read {what} {id!r}: HF_TOKEN is missing or wrong"),
    403: ("not_allowed", "the hub does not let us read {what} {id!r}: HF_TOKEN has no right to it"),
    404: ("not_found", "the hub has no {what} {id!r}, or lacks a file of it"),
}
# HTTPError: every failure of the HTTP library, time-outs included. JSONDecodeError: something answers that is no hub.
_CAUGHT: tuple[type[Exception], ...] = (
    *_REFUSALS,
    HTTPError,
    OfflineModeIsEnabled,
    LocalEntryNotFoundError,
    json.JSONDecodeError,
)
