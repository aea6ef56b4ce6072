"""Puts what a runner exported into the artifact store: checked copies, their hashes and a tar, made by us alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store.artifacts import ArtifactStore, Manifest, Upload, UploadStopped, blocks_of
from workers.export.archive import Tar
from workers.export.sums import SUMS, sums_text
from workers.removal import remove_tree
from workers.supervision.exported_files import check_exported, opened_export, take_over
from workers.supervision.runner_folders import entered, made_folder

#: Of the attempt's scratch; its runner cannot write there.
COPIES = "published"

#: A model as large as its inputs in float16 has twice their bytes in float32; a report has some megabytes.
TIMES_INPUTS, SPARE_BYTES = 8, 2**30


def most_bytes(inputs: int, ceiling: int) -> int:
    """How many bytes the files of a job may have, whose inputs have ``inputs``."""
    return min(ceiling, TIMES_INPUTS * inputs + SPARE_BYTES)


def publish_export(
    scratch: Path, names: tuple[str, ...], artifacts: ArtifactStore, prefix: str, top: str,
    *, limit: int, stopped: Callable[[], bool],
) -> Manifest:  # fmt: skip
    """Publish the files of the folder that ``names`` lead to beneath ``scratch``, with a tar of them called ``top``.

    Raises ``verification_failed`` for files that are not what a job delivers, or have more than ``limit`` bytes;
    ``OSError`` and ``UploadStopped`` where ``stopped`` says so, and nothing of it is left in the store then.
    """
    remove_tree(scratch / COPIES)  # of a try that the store was away for
    with entered(scratch) as own, opened_export(scratch, *names) as source, made_folder(own, COPIES) as target:
        taken = take_over(source, target, limit, stopped)
    copies = scratch / COPIES
    check_exported(copies, taken)
    try:
        return _upload(artifacts.upload(prefix, stopped), copies, taken, top)
    except UploadStopped:
        artifacts.delete(prefix)
        raise


def _upload(upload: Upload, folder: Path, names: list[str], top: str) -> Manifest:
    files = {name: folder / name for name in names}
    sent = {name: upload.put(name, path.stat().st_size, blocks_of(path)) for name, path in files.items()}
    sums = folder / SUMS
    sums.write_text(sums_text({name: file.sha256 for name, file in sent.items()}), encoding="utf-8")
    upload.put(SUMS, sums.stat().st_size, blocks_of(sums))
    tar = Tar({**files, SUMS: sums}, top)
    upload.put(f"{top}.tar", tar.size, tar.blocks())
    return upload.finish(f"{top}.tar")
