"""Pushing a folder to the hub, through its own client and with the operator's token; and whether that may be done.

The client's exceptions leave this file as ``LayercutError``: ``push_not_allowed`` (the hub says no, or we do),
``hub_unavailable`` (it says nothing, or to come again) or ``push_failed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.push import MAIN, Pushed, PushSpec
from sources.hub import reason_of
from sources.hub_client import COMMIT, Deadline, Unreachable, bounded
from sources.hub_rights import TokenOwner, lacking_right
from sources.settings import SourceSettings

FIELD, REPO = "/export/push_to", "/export/push_to/repo"

#: Of weights that an earlier push left, and that a loader could take for those of this one.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "onnx/*", "*.gguf")

#: Of the questions before, of the commit, and of each file, which takes longer by its bytes. A slower hub is none.
ASK_SECONDS, COMMIT_SECONDS, FILE_SECONDS, BYTES_PER_SECOND = 60.0, 300.0, 60.0, 100_000

#: Statuses of a hub that is busy, or that another push has overtaken: the same may work later.
PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})

#: The client's guard does not know what is asked for.
BY_THE_GUARD = {"model_not_allowed": "push_not_allowed", "model_invalid": "push_failed"}

Stopped = Callable[[], bool]


class PushStopped(Exception):
    """Nobody waits for the push any more; nothing was committed."""


def check_push(push: PushSpec, settings: SourceSettings) -> None:
    """Raise ``push_not_allowed`` where a push is known to be refused: by the owner, for want of a token, by what the
    hub says of the token and of the repository. A hub that does not answer is asked again when there is something to
    push.
    """
    api = _client(push, settings)
    try:
        with _told(push), bounded(Deadline(settings.hub_timeout_seconds)):
            found = TokenOwner.model_validate(api.whoami())
            _refuse(lacking_right(found, push))
            _check_private(_repository(api, push), push)
    except LayercutError as error:
        if error.code == "push_not_allowed":
            raise
    except ValidationError:  # it is not what a hub says: what is pushed there will show
        return


def push_folder(push: PushSpec, folder: Path, settings: SourceSettings, job_id: str, stopped: Stopped) -> Pushed:
    """Have the branch hold the files of ``folder``, by one commit; by none where it holds them already. Weights that
    are not among them go from it.

    Raises ``PushStopped`` where ``stopped``, which is asked between files, says so before the commit.
    """
    api = _client(push, settings)
    with _told(push):
        files = [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]
        with bounded(Deadline(ASK_SECONDS)):
            head = _open_branch(api, push)
        added = [CommitOperationAdd(name, path) for name, path in files]
        for operation in added:
            _check_wanted(stopped)
            _upload(api, push, operation)
        _check_wanted(stopped)
        names = {name for name, _ in files}
        stale = [file.rfilename for file in head.siblings or [] if _is_stale(file.rfilename, names)]
        with bounded(Deadline(COMMIT_SECONDS)):
            commit = api.create_commit(
                push.repo, [*map(CommitOperationDelete, stale), *added],
                commit_message=f"Model of {job_id}, by layercut", revision=push.revision, parent_commit=head.sha,
            )  # fmt: skip
            oid = _checked(commit.oid)
            _check_arrived(api, push, oid, {name: path.stat().st_size for name, path in files})
    return Pushed(repo=push.repo, revision=push.revision, commit=oid, url=_address(push, oid))


def _client(push: PushSpec, settings: SourceSettings) -> HfApi:
    """Raises ``push_not_allowed``."""
    owners = settings.push_owners
    if push.owner.casefold() not in {owner.casefold() for owner in owners}:
        named = f"names {', '.join(owners)}" if owners else "names none"
        _refuse(f"{push.owner!r} may not be pushed to: LAYERCUT_PUSH_OWNERS {named}")
    token = settings.push_token or get_token()
    if not token:
        _refuse("a push needs a token, and the service has none: set LAYERCUT_PUSH_TOKEN, or HF_TOKEN")
    disable_progress_bars()  # they would go into the worker's log
    return HfApi(token=token)


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise LayercutError("push_not_allowed", reason, param=REPO)


def _repository(api: HfApi, push: PushSpec) -> ModelInfo | None:
    try:
        return api.model_info(push.repo)
    except RepositoryNotFoundError:
        return None


def _check_private(found: ModelInfo | None, push: PushSpec) -> None:
    if push.private and found is not None and not found.private:
        raise LayercutError(
            "push_not_allowed",
            f"{push.repo} is public, and the push is private: give private: false where all may have it",
            param=f"{FIELD}/private",
        )


def _open_branch(api: HfApi, push: PushSpec) -> ModelInfo:
    """What is on the branch; it and the repository are made where they are missing."""
    api.create_repo(push.repo, private=push.private, exist_ok=True)
    _check_private(api.model_info(push.repo), push)
    if push.revision != MAIN:
        api.create_branch(push.repo, branch=push.revision, exist_ok=True)
    return api.model_info(push.repo, revision=push.revision)


def _check_wanted(stopped: Stopped) -> None:
    if stopped():
        raise PushStopped


def _upload(api: HfApi, push: PushSpec, operation: CommitOperationAdd) -> None:
    """One by one: in this thread alone the clock is heeded."""
    with bounded(Deadline(FILE_SECONDS + operation.upload_info.size / BYTES_PER_SECOND)):
        api.preupload_lfs_files(push.repo, [operation], revision=push.revision, free_memory=False)


def _is_stale(name: str, names: set[str]) -> bool:
    return name not in names and any(fnmatch(name, pattern) for pattern in WEIGHTS)


def _checked(oid: str) -> str:
    if not isinstance(oid, str) or COMMIT.fullmatch(oid) is None:
        raise LayercutError("push_failed", f"the hub's answer names no commit: {str(oid)[:100]!r}", param=FIELD)
    return oid


def _check_arrived(api: HfApi, push: PushSpec, commit: str, sizes: dict[str, int]) -> None:
    """A rule of the repository may leave files out without a word."""
    tree = api.list_repo_tree(push.repo, recursive=True, revision=commit)
    there = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    wrong = sorted(name for name, size in sizes.items() if there.get(name) != size)
    if wrong:
        text = f"the commit {commit} lacks {', '.join(wrong)[:500]}: does a .gitignore of {push.repo} leave that out?"
        raise LayercutError("push_failed", text, param=FIELD)


def _address(push: PushSpec, commit: str) -> str:
    """Without the password that HF_ENDPOINT may hold."""
    scheme, _, rest = constants.ENDPOINT.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}/{push.repo}/commit/{commit}"


@contextmanager
def _told(push: PushSpec) -> Iterator[None]:
    """The one place where whatever the client raises, by fault of the hub, becomes an error of ours."""
    try:
        yield
    except (PushStopped, ValidationError, MemoryError):
        raise
    except Exception as error:
        # What an upload met, the client wraps.
        met = error.__cause__ if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception) else error
        if isinstance(met, OSError) and met.errno is not None:
            raise met from None  # this machine's own disk
        raise _translated(met, push) from error


def _translated(error: Exception, push: PushSpec) -> LayercutError:
    if isinstance(error, LayercutError):
        code = BY_THE_GUARD.get(error.code)
        return error if code is None else LayercutError(code, error.message, param=REPO)
    code, said = _of_status(error.response.status_code) if isinstance(error, HfHubHTTPError) else _of_kind(error)
    return LayercutError(code, f"{said.format(repo=push.repo)}: {reason_of(error)}", param=REPO)


def _of_status(status: int) -> tuple[str, str]:
    if status in (401, 403, 404):
        return "push_not_allowed", "the hub lets the service's token push nothing to {repo}"
    if status in PASSING:
        return "hub_unavailable", "the hub asks to come again"
    return "push_failed", "the hub refuses the push"


def _of_kind(error: Exception) -> tuple[str, str]:
    if isinstance(error, (Unreachable, httpx2.TransportError)):
        return "hub_unavailable", "the hub does not answer"
    if isinstance(error, OfflineModeIsEnabled):
        return "push_failed", "the service may not ask the hub"
    return "push_failed", "the push failed"
