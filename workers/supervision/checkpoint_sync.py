"""Carries a job's checkpoints to the artifact store, and to hosts that lack them. Losing one costs only time."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Self

from sources.beneath import list_names
from sources.blocks import Cancelled
from store.artifacts import ArtifactStore
from store.jobs import JobStore
from store.passing import passing
from store.uploads import UploadStopped
from workers.checkpoints.layout import FACTS, WEIGHTS, newest, newest_in, prepare, put_in_place, training_of
from workers.removal import remove_tree
from workers.runtime.failures import code_of
from workers.supervision.retries import Pauses, Tell, Wait, persist
from workers.supervision.runner_folders import copy_files, entered, made_folder
from workers.supervision.runner_process import RunnerProcess
from workers.supervision.threads import start

log = logging.getLogger("layercut.checkpoints")

FILES = (WEIGHTS, FACTS)
#: How long the store may be away when an attempt begins that goes on from what is in it.
AWAY_SECONDS = 300.0
#: How often a checkpoint is asked for, with pauses, of a store that answers.
FETCHES = 4
#: Of one job, with a checkpoint each. A job has no more than some for each of its seeds.
MAX_TRAININGS = 1000

#: A folder of a runner's: its name, its number on the disk, and when a file came into it.
Seen = tuple[str, int, int]


def checkpoint_prefix(job_id: str) -> str:
    return f"jobs/{job_id}/checkpoint"


class CheckpointSync:
    """Of one attempt. ``folder`` holds the job's checkpoints on this host; those that ``runner`` reads and writes are
    its own, and of what it writes nothing is kept that has more than ``max_bytes``. Use as a context manager.
    """

    def __init__(
        self, artifacts: ArtifactStore, job_id: str, folder: Path, runner: RunnerProcess, *, max_bytes: int
    ) -> None:
        self._artifacts, self._job_id, self._folder, self._runner = artifacts, job_id, folder, runner
        self._max_bytes = max_bytes
        self._change = threading.Condition()
        self._sent: set[str] = set()
        self._called = self._busy = self._hurried = self._closed = self._over = False
        #: By training, what was here when the runner began, and what was kept of it since.
        self._ours: dict[str, str] = {}
        #: By training, the runner's folder that was lent or kept last.
        self._seen: dict[str, Seen] = {}
        #: What was ours, and began anew since.
        self._replaced: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        """An upload that is under way is left behind: it cannot be stopped, and harms nothing."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def fetch(self, wait: Wait, tell: Tell) -> None:
        """Have here what another host has got further with. Raises what passes where the store stays away, or the disk
        is full: without them a job would train again what it has trained. Raises ``Cancelled`` once nobody waits.
        """
        stored, here = newest(self._listed(wait, tell)), newest_in(self._folder)
        for training, name in stored.items():
            _go_on(wait)
            if self._lacks(name, here.get(training, "")) and not self._bring(training, name, wait, tell):
                continue
            self._sent.add(name)

    def _lacks(self, name: str, here: str) -> bool:
        """Whether the store has more, or the whole of what is damaged here: power may have failed."""
        return name > here or (name == here and self._damaged(name))

    def _damaged(self, name: str) -> bool:
        try:
            stored = {file.name: file.bytes for file in self._artifacts.manifest(self._prefix(name)).files}
            return stored != {path.name: path.stat().st_size for path in (self._folder / name).iterdir()}
        except Exception as error:  # noqa: BLE001 - then it cannot be fetched either
            log.warning("job %s: cannot compare its checkpoint %s: %r", self._job_id, name, error)
            return False

    def _bring(self, training: str, name: str, wait: Wait, tell: Tell) -> bool:
        """Whether that checkpoint is here now. One that the store has and cannot give is damaged: also of a truncated
        file it says what it says when it is away.
        """
        pauses = Pauses()
        for _ in range(FETCHES):
            try:
                self._fetch(training, name, wait)
            except Cancelled:
                raise
            except Exception as error:
                if code_of(error) == "storage_full":
                    raise
                log.warning("job %s: cannot fetch its checkpoint %s: %r", self._job_id, name, error)
                _go_on(wait, pauses.next())
                self._listed(wait, tell)
            else:
                return True
        return False

    def _listed(self, wait: Wait, tell: Tell) -> list[str]:
        """What the store has, once it answers."""
        what = f"job {self._job_id}: its checkpoints"
        return persist(self._stored, wait, what, tell=tell, seconds=AWAY_SECONDS)

    def lend(self) -> None:
        """Have the host's where the runner finds them."""
        self._ours = newest_in(self._folder)
        for training, name in self._ours.items():
            try:
                self._lend(training, name)
            except OSError as error:
                log.warning("job %s: cannot give its checkpoint %s to the runner: %r", self._job_id, name, error)

    def _lend(self, training: str, name: str) -> None:
        scratch, hidden = self._runner.scratch, f".{name}"
        with (
            entered(self._folder, name) as source,
            entered(scratch.folder, scratch.checkpoints.name) as theirs,
            made_folder(theirs, hidden) as target,
        ):
            self._runner.give_folder(target)  # to be removed by it
            copy_files(source, target, names=FILES)
            self._seen[training] = _seen(name, target)
            os.rename(hidden, name, src_dir_fd=theirs, dst_dir_fd=theirs)

    def _take_over(self) -> None:
        """Keep on this host what the runner has written since: of fewer steps too, where it could not use what is here.
        What another attempt has got further with meanwhile stays.
        """
        here, scratch = newest_in(self._folder), self._runner.scratch
        for training, name in newest(list_names(scratch.folder, scratch.checkpoints.name)).items():
            if name < here.get(training, "") != self._ours.get(training, ""):
                continue
            if len(here | {training: name}) > MAX_TRAININGS:
                log.warning("job %s: it has checkpoints of more than %s trainings", self._job_id, MAX_TRAININGS)
                return
            if self._keep(training, name):
                here[training] = name

    def _keep(self, training: str, name: str) -> bool:
        """False where it is not new."""
        scratch = self._runner.scratch
        with entered(scratch.folder, scratch.checkpoints.name, name) as source:
            seen = _seen(name, source)
            if seen == self._seen.get(training):
                return False
            hidden = prepare(self._folder, training)
            try:
                with entered(hidden) as target:
                    copy_files(source, target, names=FILES, limit=self._max_bytes, stopped=lambda: self._closed)
            except OSError:
                remove_tree(hidden)
                raise
        put_in_place(hidden, name)
        self._replaced |= {self._ours.get(training, name)}
        self._replaced -= {name}
        self._sent -= {name}
        self._ours[training], self._seen[training] = name, seen
        return True

    def discard(self) -> None:
        """Nobody wants its checkpoints: remove them, here now and in the store when an upload is over."""
        remove_tree(self._folder)
        with self._change:
            self._over = self._closed = True
            self._change.notify_all()

    def call(self) -> None:
        """There may be a new checkpoint: have it carried soon."""
        with self._change:
            self._called = True
            self._change.notify_all()

    def drain(self, seconds: float) -> None:
        """Return when all there is has been carried, or when the time is up. No pause of ours is waited for."""
        with self._change:
            self._hurried = True
        self.call()
        with self._change:
            self._change.wait_for(lambda: not (self._called or self._busy), seconds)

    def _run(self) -> None:
        pauses = Pauses()
        while self._wait():
            try:
                self._carry()
                pauses = Pauses()
            except Exception as error:  # noqa: BLE001 - also where a later one took its place in the meantime: it will be called too
                log.warning("job %s: cannot keep its checkpoint in the store: %r", self._job_id, error)
                if passing(error) is not None:
                    pauses = Pauses() if self._again(pauses.next()) else pauses
                    continue
            with self._change:
                self._busy = False
                self._change.notify_all()

        if self._over:
            self._clear()

    def _carry(self) -> None:
        self._take_over()
        for name in newest_in(self._folder).values():
            self._send(name)

    def _again(self, seconds: float) -> bool:
        """The store is away: call ourselves after so long, and be busy until then. Whether somebody waits for us by
        now: a runner that tells of many checkpoints does not.
        """
        with self._change:
            hurried = self._change.wait_for(lambda: self._closed or self._hurried, seconds)
            self._called, self._hurried = True, False
        return hurried

    def _clear(self) -> None:
        try:
            self._artifacts.delete(checkpoint_prefix(self._job_id))
        except Exception as error:  # noqa: BLE001 - the gateway's upkeep does it later
            log.warning("job %s: cannot remove its checkpoints: %r", self._job_id, error)

    def _wait(self) -> bool:
        with self._change:
            self._change.wait_for(lambda: self._called or self._closed)
            self._called, self._busy = False, True
            return not self._closed

    def _send(self, name: str) -> None:
        if name in self._sent:
            return
        began = time.monotonic()
        self._artifacts.publish(self._prefix(name), self._folder / name)
        self._sent.add(name)
        for other in self._stored():
            if (other < name or other in self._replaced) and training_of(other) == training_of(name):
                self._artifacts.delete(self._prefix(other))
        log.info("job %s: %s is in the store after %.1f s", self._job_id, name, time.monotonic() - began)

    def _stored(self) -> list[str]:
        return [prefix.rpartition("/")[2] for prefix in self._artifacts.prefixes(checkpoint_prefix(self._job_id))]

    def _prefix(self, name: str) -> str:
        return f"{checkpoint_prefix(self._job_id)}/{name}"

    def _fetch(self, training: str, name: str, wait: Wait) -> None:
        hidden = prepare(self._folder, training)
        try:
            self._artifacts.fetch(self._prefix(name), hidden, stopped=lambda: wait(0))
            _go_on(wait)
            put_in_place(hidden, name)
        except BaseException as error:
            remove_tree(hidden)
            if isinstance(error, UploadStopped):
                raise Cancelled from None
            raise
        log.info("job %s: %s was fetched from the store", self._job_id, name)


def _seen(name: str, folder: int) -> Seen:
    status = os.fstat(folder)
    return name, status.st_ino, status.st_mtime_ns


def _go_on(wait: Wait, seconds: float = 0) -> None:
    """After so long; raises ``Cancelled`` where nobody waits for us any more."""
    if wait(seconds):
        raise Cancelled


def sweep_ended(root: Path, store: JobStore, days: float) -> None:
    """Remove the checkpoints on this host that nobody wants any more, of jobs that ended here or elsewhere; ``days`` is
    how long those of a failed or cancelled job are kept.
    """
    folders = {path.name: path for path in root.glob("*")} if root.is_dir() else {}
    if not folders:
        return
    wanted = store.with_checkpoints(list(folders), days)
    for job_id, folder in folders.items():
        if job_id not in wanted:
            remove_tree(folder)
