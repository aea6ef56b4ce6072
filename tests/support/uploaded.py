"""Uploads that are ready, as the service makes them: files in the artifact store, and rows that say so."""

from __future__ import annotations

from pathlib import Path

from api_schemas.uploads import UploadKind
from store.artifacts import ArtifactStore
from store.stored_uploads import UploadStore, Written
from store.upload_rows import prefix_of
from store.upload_uses import ReadyFile


def uploaded(own: UploadStore, artifacts: ArtifactStore, folder: Path, kind: UploadKind) -> str:
    """The files of ``folder`` as an upload; how a request names it."""
    held = own.begin(kind, None, 1)
    prefix = prefix_of(held.upload_id)
    artifacts.publish(prefix, folder)
    manifest, sha256 = artifacts.pinned_manifest(prefix)
    files = [ReadyFile(file.name, file.bytes, file.sha256) for file in manifest.contents]
    return own.finish(held, Written(files, files[0].sha256, sha256, {})).source
