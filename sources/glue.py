"""GLUE, from the official TSV files, from Parquet, or from the hub."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.tasks import Task
from sources import hub
from sources.fingerprint import FileHashes
from sources.hub_client import Deadline, Unreachable
from sources.lines import Lines
from sources.rows import Rows, hash_files
from sources.settings import SourceSettings
from sources.tables import duck
from sources.tables.duck import connect, identifier, plainly, scratch
from sources.tsv import read_tsv

HUB_DATASET = "nyu-mll/glue"
PARAM = "/task"

# QQP's official train.tsv has a few rows broken over two lines. Everyone leaves them out (transformers, nyu-mll/glue);
# more than this share of a training file is an error, and so is any in a dev file.
SHORT_ROWS = 1 / 10_000
#: Of one split, on the hub, which has one or two.
MAX_FILES = 100


def read_glue(task: Task, split: str, settings: SourceSettings) -> Rows:
    """``split`` of a GLUE task: ``train`` or a name in ``task.splits``.

    From ``settings.glue_dir`` where it has a folder of the task (TSV, or Parquet as on the hub), else from the hub.
    Raises ``dataset_not_found``, ``dataset_invalid`` (with file and line), ``hub_unavailable``.
    """
    files = glue_files(task, split, settings)
    if files[0].suffix == ".tsv":
        return _read_tsv(task, split, files[0])
    return _read_parquet(task, files)


def glue_files(task: Task, split: str, settings: SourceSettings) -> list[Path]:
    """The files of ``split``, fetched where they are the hub's; raises as ``read_glue`` does."""
    return _local_files(task, split, _root(settings)) or _hub_files(task, split, settings)


def local_glue_files(task: Task, split: str, settings: SourceSettings) -> list[Path]:
    """As ``glue_files``, where the service has a folder of the task; else none, and the hub is not asked."""
    return _local_files(task, split, _root(settings))


def check_glue(task: Task, settings: SourceSettings, limit: int, splits: Sequence[str] | None = None) -> None:
    """Raise what ``read_glue`` would for the first ``limit`` bytes of each local TSV file; the hub is not asked.

    ``splits``: of these alone.
    """
    for split in splits or ("train", *dict(task.splits)):
        files = _local_files(task, split, _root(settings))
        if files and files[0].suffix == ".tsv":
            _read_tsv(task, split, files[0], limit)


def glue_identity(
    task: Task, settings: SourceSettings, hashes: FileHashes, split: str = "train"
) -> dict[str, Any] | None:
    """What tells one state of the split's rows from another, without reading them: sha256 of files, or a commit.

    None where the rows are the hub's, and neither the hub nor its cache says which commit.
    """
    if settings.inputs is not None and settings.inputs.glue_commit is not None:
        return {"glue": task.name, "hub": settings.inputs.glue_commit}
    files = _local_files(task, split, _root(settings))
    if files:
        return {"glue": task.name, "kind": files[0].suffix, "files": [hashes.of(path) for path in files]}
    try:
        commit = hub.look(HUB_DATASET, None, Deadline(settings.hub_timeout_seconds), what="dataset").commit
    except Unreachable:
        try:
            commit = hub.cached(HUB_DATASET, None, what="dataset", is_whole=_has(task, split)).name
        except Unreachable:
            return None
    return {"glue": task.name, "hub": commit}


def hub_commit(path: Path) -> str:
    """Of a file that was fetched from the hub: its snapshot's folder is named by it."""
    return path.parent.parent.name


def _root(settings: SourceSettings) -> Path | None:
    return settings.glue_dir if settings.inputs is None else settings.inputs.glue


def _local_files(task: Task, split: str, root: Path | None) -> list[Path]:
    """Empty where there is no folder of the task at all."""
    if root is None:
        return []
    if not root.is_dir():
        raise LayercutError("dataset_not_found", "LAYERCUT_GLUE_DIR of the service names no folder", param=PARAM)
    folder = next((root / name for name in (task.folder, task.name) if (root / name).is_dir()), None)
    if folder is None:
        return []
    stem = {"train": "train", **dict(task.splits)}[split]
    tsv = folder / f"{stem}.tsv"
    files = [tsv] if tsv.is_file() else _parquet_files(folder, split) or _parquet_files(folder, stem)
    if not files:
        raise LayercutError(
            "dataset_not_found",
            f"{folder.name} of LAYERCUT_GLUE_DIR has neither {stem}.tsv nor {split}*.parquet",
            param=PARAM,
        )
    return files


def _parquet_files(folder: Path, split: str) -> list[Path]:
    return sorted({*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")})


def _hub_files(task: Task, split: str, settings: SourceSettings) -> list[Path]:
    deadline = Deadline(settings.hub_timeout_seconds)
    hint = f"; LAYERCUT_GLUE_DIR may name a folder with {task.folder}/train.tsv"
    pattern = f"{task.name}/{split}-*.parquet"

    def ask() -> tuple[hub.Repo, list[str]]:
        repo = hub.look(HUB_DATASET, None, deadline, what="dataset")
        names = [name for name in repo.files if name.count("/") == 1 and fnmatchcase(name, pattern)]
        if not 0 < len(names) <= MAX_FILES:
            text = f"{HUB_DATASET} has {len(names)} files {pattern}, not 1 to {MAX_FILES}{hint}"
            raise LayercutError("dataset_not_found", text, param=PARAM)
        return repo, names

    folder = hub.fetch(HUB_DATASET, None, what="dataset", ask=ask, is_whole=_has(task, split), hint=hint)
    return _parquet_files(folder / task.name, split)


def _has(task: Task, split: str) -> Callable[[Path], bool]:
    return lambda folder: bool(_parquet_files(folder / task.name, split))


def _read_tsv(task: Task, split: str, path: Path, limit: int | None = None) -> Rows:
    lines = Lines(path, f"{path.parent.name}/{path.name}", param=PARAM, limit=limit)
    records = read_tsv(lines, (*task.columns, task.label_column), task.header)
    texts: list[tuple[str, ...]] = []
    labels: list[float] = []
    short: list[int] = []
    unlabelled = 0
    for line, values in records:
        if values is None:
            short.append(line)
        elif task.unlabelled is not None and values[-1] == task.unlabelled:
            unlabelled += 1
        else:
            texts.append(values[:-1])
            labels.append(_label(task, values[-1].strip(), lines))
    if len(short) > (len(texts) * SHORT_ROWS if split == "train" else 0):
        raise lines.error(f"the row has too few columns; {len(short)} such rows in all", short[0])
    if not texts:
        raise lines.error("the file has no rows", 1)
    return Rows(texts, labels, lines.name, hash_files([path]) if limit is None else "", len(short) + unlabelled)


def _label(task: Task, text: str, lines: Lines) -> float:
    if task.labels:
        if text not in task.labels:
            raise lines.error(f"{task.label_column} {text!r} is none of {', '.join(task.labels)}")
        return task.labels.index(text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise lines.error(f"{task.label_column} {text!r} is not a number")
    return value


def _read_parquet(task: Task, files: list[Path]) -> Rows:
    texts: list[tuple[str, ...]] = []
    labels: list[float] = []
    for path in files:
        name = f"{task.name}/{path.name}"
        for row, (line_texts, label) in enumerate(_parquet_rows(task, path, name), start=1):
            right = isinstance(label, (int, float)) and (not task.labels or label in range(len(task.labels)))
            if not right or not all(isinstance(text, str) for text in line_texts):
                raise _invalid(name, f"row {row}: a text is missing, or label {label!r} is not one of the task's")
            texts.append(line_texts)
            labels.append(label)
    return Rows(texts, labels, ", ".join(f"{task.name}/{path.name}" for path in files), hash_files(files))


def _parquet_rows(task: Task, path: Path, name: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
    columns = (*task.hub_columns, "label")
    with scratch() as folder, connect(path, folder) as (connection, file):
        try:
            known = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM read_parquet({file})").fetchall()]
            missing = [column for column in columns if column not in known]
            if missing:
                raise _invalid(name, f"no column {missing[0]!r}; the columns are: {', '.join(known)}")
            wanted = ", ".join(map(identifier, columns))
            found = connection.execute(f"SELECT {wanted} FROM read_parquet({file})").fetchall()
        except duck.Error as error:
            raise _invalid(name, f"not Parquet: {plainly(error)}") from None
    for *line_texts, label in found:
        yield tuple(line_texts), label


def _invalid(name: str, message: str) -> LayercutError:
    return LayercutError("dataset_invalid", f"{name}: {message}", param=PARAM)
