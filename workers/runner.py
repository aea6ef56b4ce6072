"""One job in a process of its own, which knows no database and no broker. Events go out as JSON lines on stdout.

``python -m workers.runner job.json --out DIR`` does a job and exits with 0 or 1. ``--wait`` imports what a job needs,
says so, and does the job that it is then handed on stdin.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent, StageData, failure
from api_schemas.requests import JobRequest
from workers.cache.folder import Cache, FolderCache
from workers.cache.remote import RemoteCache
from workers.descriptors import receive_descriptors
from workers.protocol import READY, Handover, JobFile
from workers.runtime.failures import explained
from workers.sandbox.kernel import hide_process
from workers.sandbox.landlock import lock_in
from workers.settings import WorkerSettings


class Telling:
    """Is told each event, and remembers the stage and whether the job has ended."""

    stage: str | None = None
    last: EventType | None = None

    def __call__(self, event: NewEvent) -> None:
        if isinstance(event.data, StageData) and not event.data.skipped:
            self.stage = event.data.stage
        self.last = event.type
        self.tell(event)

    def tell(self, event: NewEvent) -> None:
        raise NotImplementedError


class EventWriter(Telling):
    """Writes events to ``stream``, one a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def tell(self, event: NewEvent) -> None:
        self.line(event.model_dump_json(exclude_unset=True))

    def line(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


def run_job(
    read: Callable[[], JobFile], out: Path, tell: Telling, cache: Cache, settings: WorkerSettings, *, archived: bool
) -> bool:
    """Do the job whose file ``read`` gives; ``archived``: with one tar of what it delivers. Whether it succeeded; the
    last event told is SUCCEEDED or FAILED.

    On SIGTERM in the middle of a training, SystemExit passes through, and no last event is told.
    """
    try:
        file = read()
        out.mkdir(parents=True, exist_ok=True)
        # Only here: it imports torch, which takes seconds, and a job file with a fault should not wait for that.
        run_pipeline = import_module("workers.pipeline").run_pipeline
        with _at_hand(file.request, settings) as (request, at_hand):
            run_pipeline(
                request, resolved=file.resolved, job_id=file.id, out=out, settings=at_hand, tell=tell,
                shared=cache, attempt=file.attempt, checkpoints=file.checkpoints,
                archived=archived,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - every fault of a job is told, whatever it is
        if not isinstance(error, LayercutError):  # that one is for people, and says all there is to say
            traceback.print_exc()
        tell(failure(explained(error), tell.stage))
    return tell.last == EventType.SUCCEEDED


def _at_hand(
    request: JobRequest, settings: WorkerSettings
) -> AbstractContextManager[tuple[JobRequest, WorkerSettings]]:
    """``request`` and ``settings`` of a job whose inputs were handed over, or are fetched now."""
    if settings.inputs is not None:
        return nullcontext((request, settings))
    # Only here: a runner that waits is locked in, and has no use for a client of object stores.
    found: AbstractContextManager[tuple[JobRequest, WorkerSettings]]
    found = import_module("workers.stages.own_objects").with_objects(request, settings)
    return found


def run_file(job: Path, out: Path) -> int:
    """By hand: exit code 0 or 1, and 130 for Ctrl-C. Files are read where they lie, beneath the roots."""
    settings = WorkerSettings()
    cache = FolderCache(settings.data_dir / "cache", settings.cache_bytes)
    with stdout_for_events() as stream:
        try:
            read = partial(JobFile.read, job)
            return 0 if run_job(read, out, EventWriter(stream), cache, settings, archived=True) else 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


def wait_for_job(channel: int) -> int:
    """Get ready, and do the one job that comes on stdin. When stdin ends, the supervisor is dead and so are we.

    ``channel`` is the socket that open files come over.
    """
    hide_process()
    # Text for people, as its stderr is shown to them too; the supervisor makes a structured line of each.
    level = WorkerSettings().log_level.upper()
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with stdout_for_events() as stream:
        tell = EventWriter(stream)
        _import_pipeline()
        # What was imported stays. A full collection in the middle of a job would walk it all, for a third of a second.
        gc.collect()
        gc.freeze()
        tell.line(READY)
        line = sys.stdin.readline()
        if not line:
            return 0
        handover = Handover.model_validate_json(line)
        given = receive_descriptors(channel, len(handover.inputs.descriptors))
        if handover.files is not None:
            # From here on; before it, nothing was read that a stranger wrote.
            lock_in(handover.files.model_dump(mode="json") | {"open_files": given})
        settings = WorkerSettings(inputs=handover.inputs, data_dir=handover.notes)
        answers: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=_listen_to_supervisor, args=(answers,), daemon=True).start()
        cache = RemoteCache(handover.notes, tell.line, answers.get)
        read = partial(JobFile.read, handover.job)
        # Whoever staged the inputs publishes the files, and makes the tar as it does.
        return 0 if run_job(read, handover.out, tell, cache, settings, archived=False) else 1


def _import_pipeline() -> None:
    try:
        import_module("workers.pipeline")
    except Exception:  # noqa: BLE001 - the job will meet it again, and fail with a message instead of being lost
        traceback.print_exc()


def stdout_for_events() -> TextIO:
    """The real stdout. Whatever a library prints goes to stderr from now on, from compiled code too."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(real, "w", encoding="utf-8")


def _listen_to_supervisor(answers: SimpleQueue[str]) -> None:
    """Pass on its lines. When they end, it is dead and so are we."""
    # os.read and not sys.stdin: a thread that waits in a buffered read cannot be left behind at exit. Nothing is lost
    # between the two: until it is asked, the supervisor says no more than the handover.
    rest = b""
    while block := os.read(0, 65536):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            answers.put(line.decode())
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="workers.runner", description=__doc__)
    parser.add_argument("job", type=Path, nargs="?", help="job file, or the body of POST /v1/jobs")
    parser.add_argument("--out", type=Path, help="folder for the artifact")
    parser.add_argument("--wait", type=int, metavar="SOCKET", help="take the job from stdin, and open files from this")
    given = parser.parse_args()
    if given.wait is not None:
        return wait_for_job(given.wait)
    if given.job is None or given.out is None:
        parser.error("give a job file and --out, or --wait")
    return run_file(given.job, given.out)


if __name__ == "__main__":
    sys.exit(main())
