"""Puts what a runner exported into the artifact store: checked copies, their hashes and a tar, made by us alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from store.artifacts import ArtifactStore
from store.manifests import Manifest
from store.uploads import Upload, UploadStopped, blocks_of, plain_files
from workers.export.sums import SUMS, sums_text
from workers.removal import remove_tree
from workers.supervision.exported_files import check_exported, opened_export, take_over
from workers.supervision.runner_folders import entered, made_folder

log = logging.getLogger("layercut.publishing")

#: Of the attempt's scratch; its runner cannot write there. Under the second name, all are there and were checked.
UNCHECKED, COPIES = "published.part", "published"

#: A model as large as its inputs in float16 has twice their bytes in float32; a report has some megabytes.
TIMES_INPUTS, SPARE_BYTES = 8, 2**30


def most_bytes(inputs: int, ceiling: int) -> int:
    """How many bytes the files of a job may have, whose inputs have ``inputs``."""
    return min(ceiling, TIMES_INPUTS * inputs + SPARE_BYTES)


def publish_export(
    scratch: Path, names: tuple[str, ...], artifacts: ArtifactStore, prefix: str, top: str,
    *, limit: int, stopped: Callable[[], bool], has_model: bool = True,
) -> Manifest:  # fmt: skip
    """Publish the files of the folder that ``names`` lead to beneath ``scratch``, with a tar of them called ``top``.
    Without ``has_model``, the job evaluated a model, and has none to deliver.

    Raises ``verification_failed`` for files that are not what a job delivers, or have more than ``limit`` bytes;
    ``OSError`` and ``UploadStopped`` where ``stopped`` says so, and nothing of it is left in the store then. After
    any other error it can be called again: files that were copied, checked or sent by then are not so a second time.
    """
    copies = scratch / COPIES
    again = copies.is_dir()
    if not again:
        _take_copies(scratch, names, limit, stopped, has_model)
    try:
        return _upload(artifacts.upload(prefix, stopped, top, resumed=again), copies)
    except UploadStopped:
        try:
            artifacts.delete(prefix)
        except Exception:  # the gateway sweeps it later; why the upload was stopped is what counts
            log.warning("cannot delete %s", prefix, exc_info=True)
        raise


def _take_copies(
    scratch: Path, names: tuple[str, ...], limit: int, stopped: Callable[[], bool], has_model: bool
) -> None:
    unchecked = scratch / UNCHECKED
    remove_tree(unchecked)  # of a disk that was full, say
    with entered(scratch) as own, opened_export(scratch, *names) as source, made_folder(own, UNCHECKED) as target:
        taken = take_over(source, target, limit, stopped)
    check_exported(unchecked, taken, has_model=has_model)
    os.rename(unchecked, scratch / COPIES)


def _upload(upload: Upload, folder: Path) -> Manifest:
    files = {path.relative_to(folder).as_posix(): path for path in plain_files(folder)}
    files.pop(SUMS, None)
    sent = {name: upload.put(name, path.stat().st_size, blocks_of(path)) for name, path in files.items()}
    sums = folder / SUMS
    sums.write_text(sums_text({name: file.sha256 for name, file in sent.items()}), encoding="utf-8")
    upload.put(SUMS, sums.stat().st_size, blocks_of(sums))
    return upload.finish()
