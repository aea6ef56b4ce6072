"""Inputs are staged, once: what a job reads is fetched, chosen by name and index, and copied into one folder for its
runner.

Only regular files beneath their root, hashed as they are read. Files larger than a limit are not copied: they are
opened here, and the open descriptor is what the runner gets, so that no name is followed a second time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.pinned import PinnedSource
from api_schemas.pruning import CalibrationSpec
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.resolved import ResolvedRequest
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import TaskSpec
from api_schemas.tasks import Task
from sources.beneath import Folder, beneath, commit_of, state_of
from sources.blocks import Cancelled, Stopped, blocks, never
from sources.chosen_files import choose_files
from sources.datasets import table_files
from sources.fetched import Fetched
from sources.fingerprint import FileHashes
from sources.glue import glue_files, hub_commit
from sources.inputs import Inputs, descriptor_path
from sources.model_files import check_total
from sources.model_folder import folder_modules
from sources.models import fetch, locate
from sources.pairs import glue_pairs, pairs_file
from sources.paths import What
from sources.settings import SourceSettings
from sources.stored_data import renamed
from sources.stored_files import StoredFiles
from sources.stored_inputs import NO_STORE, StoredInputs
from sources.stored_model import chosen_files
from sources.tables.data_file import DataFile
from sources.texts import text_file, unlabelled_file

#: Left free on the disk that inputs are copied to.
SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Handle:
    """A file that is handed over open: ``state`` is what tells whether it was changed since."""

    name: str
    what: What
    file: BinaryIO
    state: tuple[int, ...]


@dataclass(frozen=True)
class Staged:
    """``seconds`` is what it took, fetching included; ``copied`` and ``handed`` are bytes."""

    inputs: Inputs
    handles: list[Handle]
    seconds: float
    copied: int
    handed: int

    def check_unchanged(self) -> None:
        """Raise ``model_invalid`` or ``dataset_invalid`` for a file that was handed over and has changed since."""
        for handle in self.handles:
            if state_of(handle.file) != handle.state:
                raise _changed(handle.name, handle.what)

    def close(self) -> None:
        for handle in self.handles:
            handle.file.close()

    def said(self) -> str:
        """One line for people."""
        handed = f", {self.handed / 1e6:.1f} MB handed over open" if self.handed else ""
        return f"inputs staged in {self.seconds:.2f} s: {self.copied / 1e6:.1f} MB copied{handed}"


@dataclass
class Stager:
    """Stages what one job reads into ``folder``, an empty one of the attempt's own.

    Files above ``copy_bytes`` are handed over open; for ``another_user``, those that everybody may read. ``hashes``
    remembers those of large files. ``stored`` finds what is kept where no path opens it. ``stopped`` is asked before
    each block; where it says so, ``Cancelled`` is raised.
    """

    settings: SourceSettings
    hashes: FileHashes
    folder: Path
    copy_bytes: int
    stopped: Stopped = never
    another_user: bool = False
    stored: StoredInputs = NO_STORE
    _handles: list[Handle] = field(default_factory=list)
    _sha256: dict[str, str] = field(default_factory=dict)
    _copied: int = 0
    _commit: str | None = None
    _glue_commit: str | None = None

    def stage(
        self, request: JobRequest, resolved: ResolvedRequest | None, sources: Sequence[PinnedSource] = ()
    ) -> Staged:
        """``sources`` are those of a job that is not resolved. Raises ``LayercutError`` as the sources do, and
        ``storage_full``; ``Cancelled``.
        """
        began = time.perf_counter()
        try:
            self._stage(request, resolved, resolved.sources if resolved else sources)
        except BaseException:
            for handle in self._handles:
                handle.file.close()
            raise
        inputs = Inputs(
            folder=self.folder, commit=self._commit, glue_commit=self._glue_commit, sha256=self._sha256,
            descriptors=[handle.name for handle in self._handles],
        )  # fmt: skip
        handed = sum(os.fstat(handle.file.fileno()).st_size for handle in self._handles)
        return Staged(inputs, self._handles, time.perf_counter() - began, self._copied, handed)

    def _stage(self, request: JobRequest, resolved: ResolvedRequest | None, sources: Sequence[PinnedSource]) -> None:
        asked = resolved or request
        delivered, start = (resolved.delivered, resolved.start) if resolved else (None, None)
        for source in sources:
            self._source(source)
        if delivered is not None:
            self._delivered(delivered, "model", modules=request.keeps_modules)
        elif not any(source.is_model for source in sources):
            hashed = is_kept(asked.task, request.prune.strategy) or start is not None
            self._model(request, resolved, hashed=hashed)
        if start is not None:
            self._delivered(start, "from", modules=request.keeps_modules)
        self._task(asked.task)
        calibration: CalibrationSpec = asked.prune.calibration
        if calibration.on_text:
            self._data(text_file(calibration, self.settings))
        # Without a model that could be looked at, the recovery is not resolved yet.
        recovery = (resolved.recovery if resolved else None) or renamed(request, sources).recovery
        if recovery.text is not None:
            self._data(unlabelled_file(recovery.text, asked.task, self.settings))

    def _task(self, task: TaskSpec) -> None:
        if task.glue:
            self._glue(task.glue, ("train", *dict(task.glue.splits)))
        elif task.trains:
            for file in table_files(task, self.settings):
                if file is not None:
                    self._data(file)
        if task.pairs is not None and (glue := glue_pairs(task.pairs)):
            self._glue(glue[0], glue[1:])
        elif task.pairs is not None:
            self._data(pairs_file(task.pairs, self.settings))

    def _model(self, request: JobRequest, resolved: ResolvedRequest | None, *, hashed: bool) -> None:
        ref = request.model if resolved is None else resolved.model
        path = fetch_pinned(request, resolved, self.settings)
        is_local = locate(ref, self.settings).folder is not None
        # The hub's client keeps a snapshot's files beside the snapshots, and links them.
        root = beneath(path, self.settings.model_roots) if is_local else path.parent.parent
        self._commit = commit_of(path)
        folder = Folder(root, path, id=ref.id)
        sizes = choose_files(folder, folder_modules(folder) if request.keeps_modules else None).sizes
        check_total(sizes, self.settings.max_model_bytes, ref.id)
        for name, size in sizes.items():
            with folder.open(name) as file:
                if state_of(file)[0] != size:
                    raise _changed(f"model/{name}", "model")
                self._take(file, f"model/{name}", "model", hashed=hashed and name.endswith(".safetensors"))

    def _delivered(self, pinned: Delivered, where: str, *, modules: bool) -> None:
        """Copy the model that an earlier job delivered. Raises ``model_invalid`` for a file that is another by now."""
        found, param = self.stored.delivered(pinned), "/model" if where == "model" else "/recovery/from"
        if found.sha256 != pinned.sha256:
            raise _not_as_pinned("model", param, f"the list of the files of {pinned.job}")
        names = chosen_files(found, modules=modules)
        check_total({name: found.files[name].bytes for name in names}, self.settings.max_model_bytes, found.id)
        for name in names:
            self._copy_stored(found, name, f"{where}/{name}", "model", param)

    def _source(self, pinned: PinnedSource) -> None:
        """Copy what was pinned of an upload or an object store; data is called by its name from then on."""
        found = self.stored.source(pinned)
        if pinned.is_model:
            check_total(found.sizes, self.settings.max_model_bytes, found.id)
            for name in found.files:
                self._copy_stored(found, name, f"model/{name}", "model", pinned.param)
            return
        here = dict(self.settings.fetched)
        for name, file in found.files.items():
            if name not in here:  # asked for twice: the task's table measures layers too
                sha256 = self._copy_stored(found, name, f"files/{name}", "dataset", pinned.param)
                here[name] = Fetched(self.folder / "files" / name, file.bytes, sha256)
        self.settings = self.settings.model_copy(update={"fetched": here})

    def _copy_stored(self, found: StoredFiles, name: str, to: str, what: What, param: str) -> str:
        """A stored file as a new one; its sha256. Raises ``<what>_invalid`` where it is not what was pinned."""
        if self.stopped():
            raise Cancelled
        file, target = found.files[name], self.folder / to
        self._check_room(file.bytes)
        self._make_folder(target.parent)
        sha256 = self._write(target, found.open_range(name, 0, file.bytes), file.bytes)
        if sha256 != (file.sha256 or sha256) or target.stat().st_size != file.bytes:
            raise _not_as_pinned(what, param, f"{name} of {found.id}")
        self._sha256[str(target.relative_to(self.folder))] = sha256
        return sha256

    def _write(self, target: Path, blocks: Iterable[bytes], most: int) -> str:
        """The ``blocks`` as a new file, and none that begins after ``most`` bytes; its sha256."""
        digest, size = hashlib.sha256(), 0
        with target.open("xb") as copy:
            os.fchmod(copy.fileno(), 0o644)
            for block in blocks:
                if self.stopped():
                    raise Cancelled
                copy.write(block)
                digest.update(block)
                size += len(block)
                if size > most:
                    break
        self._copied += size
        return digest.hexdigest()

    def _glue(self, task: Task, splits: Sequence[str]) -> None:
        for split in splits:
            for path in glue_files(task, split, self.settings):
                if self.settings.glue_dir is None or not path.is_relative_to(self.settings.glue_dir):
                    self._glue_commit = hub_commit(path)
                # Whoever runs the worker, or the hub's client, has put it there: links of theirs may lead anywhere.
                real = path.resolve()
                folder = Folder(real.parent, real.parent, id=task.name, what="dataset", param="/task")
                with folder.open(real.name) as file:
                    self._take(file, f"glue/{path.parent.name}/{path.name}", "dataset")

    def _data(self, data: DataFile) -> None:
        if data.name in self.settings.fetched:
            return
        root = beneath(data.path, self.settings.data_roots)
        folder = Folder(root, data.path.parent, id=data.name, what="dataset", param=data.param)
        with folder.open(data.path.name) as file:
            self._take(file, f"files/{data.name.strip('/')}", "dataset")

    def _take(self, file: BinaryIO, name: str, what: What, *, hashed: bool = False) -> None:
        if self.stopped():  # the folder may be gone by now
            raise Cancelled
        target = self.folder / name
        if target.is_symlink() or target.exists():  # asked for twice: the task's table measures layers too
            return
        self._make_folder(target.parent)
        found = os.fstat(file.fileno())
        if found.st_size > self.copy_bytes and (not self.another_user or found.st_mode & stat.S_IROTH):
            self._hand_over(file, target, name, what)
            if hashed:
                self._sha256[name] = self.hashes.until(self.stopped).of_open(file)
        else:
            self._check_room(found.st_size)
            self._sha256[name] = self._copy(file, target, name, what)

    def _make_folder(self, folder: Path) -> None:
        """To be read by whichever user the runner is, whatever the umask."""
        if not folder.exists():
            self._make_folder(folder.parent)
            folder.mkdir()
            folder.chmod(0o755)

    def _hand_over(self, file: BinaryIO, target: Path, name: str, what: What) -> None:
        kept = os.fdopen(os.dup(file.fileno()), "rb")
        target.symlink_to(descriptor_path(len(self._handles)))
        self._handles.append(Handle(name, what, kept, state_of(kept)))

    def _copy(self, file: BinaryIO, target: Path, name: str, what: What) -> str:
        before, digest, size = state_of(file), hashlib.sha256(), 0
        with target.open("xb") as copy:
            os.fchmod(copy.fileno(), 0o644)
            for block in blocks(file, before[0], self.stopped):
                copy.write(block)
                digest.update(block)
                size += len(block)
        if state_of(file) != before or size != before[0]:
            raise _changed(name, what)
        self._copied += size
        return digest.hexdigest()

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if size + SPARE_BYTES > free:
            text = f"the worker's disk has no room for the job's inputs: {size} bytes to copy, {free} free"
            raise LayercutError("storage_full", text)


def is_kept(task: TaskSpec, strategy: str) -> bool:
    """Whether anything that the job makes is kept by the content of the weights."""
    row = STRATEGIES[strategy]
    return task.trains or row.needs_importance or row.searches


def fetch_pinned(request: JobRequest, resolved: ResolvedRequest | None, settings: SourceSettings) -> Path:
    """The folder of the pinned model; raises ``model_not_found`` where the hub has the pinned commit no more."""
    ref: ModelRef = request.model if resolved is None else resolved.model
    try:
        return fetch(ref, settings, modules=request.keeps_modules)
    except LayercutError as error:
        if resolved is None or error.param != "/model/revision" or ref.revision == request.model.revision:
            raise
        message = f"{error.message}: it was the commit of {request.model.revision or 'the main branch'} when the job"
        raise LayercutError(error.code, f"{message} was accepted, and was pinned then", param=error.param) from error


def _not_as_pinned(what: What, param: str, name: str) -> LayercutError:
    text = (
        f"{name} is not what was there when this job was accepted: it was changed or broken where it is kept. Have it"
        " made or put there again, and POST the job again"
    )
    return LayercutError(f"{what}_invalid", text, param=param)


def _changed(name: str, what: What) -> LayercutError:
    text = f"{name.partition('/')[2]} was changed while the job read it: send the job again when nobody writes to it"
    return LayercutError(f"{what}_invalid", text, param="/model" if what == "model" else "/task")
