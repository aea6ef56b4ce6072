"""The JSON of the hub's protocol, as ``huggingface_hub`` reads it; pure.

Every file is told of as one in Git LFS: that is how the protocol has its sha256, by which clients check what they got.
Xet is not offered, and without it they ask by plain HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from api_schemas.jobs import Job
from service.hub.repositories import MAIN, OWNER, Repository
from sources.front_matter import Words
from store.keys import Holder
from store.manifests import StoredFile

#: What stands in the repository in the place of a file that LFS has.
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


def description(repository: Repository, job: Job, *, blobs: bool) -> dict[str, Any]:
    """Of the repository. With ``blobs``, of its files too, beyond their names."""
    card = repository.card()
    if repository.title is not None:
        card["model_name"] = repository.title
    return {
        "_id": job.id, "id": repository.id, "modelId": repository.id, "author": OWNER, "sha": repository.commit,
        "private": True, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
        "createdAt": _time(job.created_at), "lastModified": _time(job.finished_at or job.created_at),
        "library_name": card.get("library_name"), "pipeline_tag": card.get("pipeline_tag"),
        "tags": _tags(card), "cardData": card,
        "siblings": [_sibling(file, blobs=blobs) for file in repository.files.values()],
        "usedStorage": sum(file.bytes for file in repository.files.values()),
    }  # fmt: skip


def references(repository: Repository) -> dict[str, list[dict[str, str]]]:
    """The one branch."""
    branch = {"name": MAIN, "ref": f"refs/heads/{MAIN}", "targetCommit": repository.commit}
    return {"branches": [branch], "converts": [], "tags": [], "pullRequests": []}


def entries(repository: Repository, folder: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
    """Files and folders beneath ``folder``, in the order of their paths; raises ``file_not_found`` where there is no
    such folder.
    """
    start = f"{folder.strip('/')}/" if folder.strip("/") else ""
    beneath = [file for file in repository.files.values() if file.name.startswith(start)]
    if start and not beneath:
        raise repository.missing(folder)
    found = {path: _folder(path, beneath) for path in _folders(beneath, start, recursive=recursive)}
    found |= {file.name: _file(file) for file in beneath if recursive or "/" not in file.name.removeprefix(start)}
    return [found[path] for path in sorted(found)]


def at_paths(repository: Repository, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Of each path the file or folder that is there; what is not there is left out."""
    known = {entry["path"]: entry for entry in entries(repository, recursive=True)}
    return [known[path] for path in dict.fromkeys(path.strip("/") for path in paths) if path in known]


def caller(holder: Holder) -> dict[str, Any]:
    """Who asks: a tenant, as a user, by a key that may read."""
    key = {"displayName": holder.key_id or "no key", "role": "read"}
    return {
        "type": "user", "id": holder.tenant, "name": holder.tenant, "fullname": holder.tenant, "isPro": False,
        "orgs": [], "auth": {"type": "access_token", "accessToken": key},
    }  # fmt: skip


def _sibling(file: StoredFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.name}
    lfs = {"sha256": file.sha256, "size": file.bytes, "pointerSize": len(_pointer(file))}
    return {"rfilename": file.name, "size": file.bytes, "blobId": _blob_id(file), "lfs": lfs}


def _file(file: StoredFile) -> dict[str, Any]:
    lfs = {"oid": file.sha256, "size": file.bytes, "pointerSize": len(_pointer(file))}
    return {"type": "file", "path": file.name, "size": file.bytes, "oid": _blob_id(file), "lfs": lfs}


def _folder(path: str, files: list[StoredFile]) -> dict[str, Any]:
    """``oid`` names what is in it."""
    lines = "".join(f"{file.sha256} {file.name}\n" for file in files if file.name.startswith(f"{path}/"))
    return {"type": "directory", "path": path, "size": 0, "oid": _sha1(lines.encode())}


def _folders(files: list[StoredFile], start: str, *, recursive: bool) -> set[str]:
    found: set[str] = set()
    for file in files:
        parts = file.name.removeprefix(start).split("/")[:-1]
        found.update(start + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1 if recursive else 2) if parts)
    return found


def _pointer(file: StoredFile) -> bytes:
    return POINTER.format(sha256=file.sha256, size=file.bytes).encode()


def _blob_id(file: StoredFile) -> str:
    """Git's own, of the pointer."""
    pointer = _pointer(file)
    return _sha1(b"blob %d\0%b" % (len(pointer), pointer))


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _tags(card: dict[str, Words]) -> list[str]:
    """As the hub does: those of the card, and what else people look for."""
    tags, license = card.get("tags", []), card.get("license")
    also = [str(card.get("library_name", "")), str(card.get("pipeline_tag", "")), f"license:{license}" * bool(license)]
    listed = [tags] if isinstance(tags, str) else tags
    return list(dict.fromkeys(tag for tag in [*listed, *also] if tag))


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
