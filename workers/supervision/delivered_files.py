"""What earlier jobs delivered, as a job that works on it is given it: from the artifact store, and as it was pinned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from sources.delivered import DeliveredFiles, StoredFile
from sources.staging import Earlier
from store.artifacts import ArtifactStore


def earlier_files(artifacts: ArtifactStore) -> Earlier:
    return partial(_find, artifacts)


def _find(artifacts: ArtifactStore, pinned: Delivered) -> DeliveredFiles:
    """Raises ``expired`` where they are gone, and ``model_invalid`` where their list is another."""
    try:
        manifest, sha256 = artifacts.pinned_manifest(pinned.artifact)
    except LayercutError as error:
        raise _gone(error, pinned) from None
    except ValueError:
        sha256 = ""  # what lies there is no list at all
    if sha256 != pinned.manifest:
        raise LayercutError(
            "model_invalid",
            f"the list of the files of {pinned.job} is not the one that was there when this job was accepted: it was"
            " changed or broken where it is kept. Run that job again, and name the new one",
        )
    files = {file.name: StoredFile(file.bytes, file.sha256) for file in manifest.contents}
    return DeliveredFiles(pinned.job, files, partial(_read, artifacts, pinned))


def _read(artifacts: ArtifactStore, pinned: Delivered, name: str, start: int, end: int) -> Iterable[bytes]:
    try:
        return artifacts.open_range(pinned.artifact, name, start, end)
    except LayercutError as error:
        raise _gone(error, pinned) from None


def _gone(error: LayercutError, pinned: Delivered) -> LayercutError:
    if error.code != "file_not_found":
        return error
    return LayercutError(
        "expired",
        f"the files of {pinned.job} are gone, though they are kept while a job needs them: {error.message}",
    )
