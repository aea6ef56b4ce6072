"""`layercut run`: a person's job, on their own files and machine. Whoever starts it is its operator: no roots hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from api_schemas.events import NewEvent
from workers.cache.folder import FolderCache
from workers.local_paths import with_local_paths
from workers.protocol import JobFile
from workers.removal import remove_tree
from workers.runner import Telling, run_job, stdout_for_events
from workers.settings import WorkerSettings

#: Of a run that nobody took up again.
CHECKPOINT_SECONDS = 7 * 24 * 3600.0

Tell = Callable[[NewEvent], None]
#: Given the real stdout, what is told each event, for as long as the job takes.
View = Callable[[TextIO], AbstractContextManager[Tell]]


def run_in_foreground(job: Path, out: Path, view: View) -> int:
    """Do the job of the file ``job``, and put its model into the folder ``out``, which is made; nothing else is left.

    The exit code: 0 where it succeeds, 1 where it fails, 130 for Ctrl-C and 143 for SIGTERM. Started again with the
    same file and ``out``, it goes on from its last checkpoint.
    """
    out, everything = out.expanduser().resolve(), [Path("/")]
    settings = WorkerSettings(model_roots=everything, data_roots=everything)
    checkpoints = _checkpoints(settings.data_dir / "runs", job, out)
    cache = FolderCache(settings.data_dir / "cache", settings.cache_bytes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with stdout_for_events() as stream, scratch_beside(out) as scratch, view(stream) as show:
            tell = _Delivering(show, scratch, out)
            read = partial(_read, job, checkpoints)
            done = run_job(read, scratch, tell, cache, settings, archived=False)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if done:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return 0 if done else 1


def _read(job: Path, checkpoints: Path) -> JobFile:
    folders = (job.absolute().parent, Path.cwd())
    file = JobFile.read(job, partial(with_local_paths, folders=folders))
    return file.model_copy(update={"checkpoints": file.checkpoints or checkpoints})


class _Delivering(Telling):
    """Puts the files into their place before it tells that the job has ended."""

    def __init__(self, tell: Tell, scratch: Path, out: Path) -> None:
        self._pass_on, self._scratch, self._out = tell, scratch, out

    def tell(self, event: NewEvent) -> None:
        artifact = getattr(event.data, "artifact", None)
        if artifact is not None:
            if self._out.exists():  # raises where somebody has put something there meanwhile
                self._out.rmdir()
            (self._scratch / artifact.folder).replace(self._out)
            moved = artifact.model_copy(update={"folder": str(self._out)})
            event = event.model_copy(update={"data": event.data.model_copy(update={"artifact": moved})})
        self._pass_on(event)


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk, which goes with whatever ends the run; what a killed one left goes too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    start = f".{out.name}.run-"
    for left in out.parent.glob(f"{start}*"):
        # One of our own number: in a container each run has the same, and the one before was killed.
        if left.name == f"{start}{os.getpid()}" or not _lives(left.name.removeprefix(start)):
            remove_tree(left)
    scratch = out.with_name(f"{start}{os.getpid()}")
    scratch.mkdir()
    try:
        yield scratch
    finally:
        remove_tree(scratch)


def _lives(pid: str) -> bool:
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _checkpoints(root: Path, job: Path, out: Path) -> Path:
    """Of this job into this folder. Those of runs that nobody took up again for a week go."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.iterdir():
        if time.time() - left.stat().st_mtime > CHECKPOINT_SECONDS:
            remove_tree(left)
    name = hashlib.sha256(f"{job.absolute()}\0{out}".encode()).hexdigest()[:32]
    folder = root / name
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    return folder
