"""One runner process: started in a session of its own, heard line by line, killed with everything it started."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from pydantic import BaseModel

from sources.staging import Staged
from workers.descriptors import send_descriptors
from workers.protocol import READY, CacheAnswer, Handover, read_event, read_request
from workers.sandbox.groups import remove_groups
from workers.sandbox.kernel import adopt_orphans
from workers.sandbox.limits import allow_mapped, limit_cpu
from workers.sandbox.sandbox import Sandbox
from workers.supervision.hidden_paths import PathHider
from workers.supervision.process_group import reap_group
from workers.supervision.runner_environment import runner_environment
from workers.supervision.scratch import Scratch
from workers.supervision.threads import NoThread, start

log = logging.getLogger("layercut.runner")

#: A line longer than this is cut: it is no event.
LINE_CHARACTERS = 1 << 20
TAIL_LINES = 40
#: A process that left the group may hold the pipes open for ever.
READ_ON_SECONDS = 5.0


@dataclass(frozen=True)
class Exit:
    """The process is gone. Negative codes are signals, as in `subprocess`."""

    code: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"the runner exited with code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"the runner was killed by {name}"


class RunnerProcess:
    """A waiting runner with its scratch folder. ``inbox`` gets its events, what it asks of the cache, and one ``Exit``
    after the last of them.

    Raises ``OSError`` where it cannot be started. Whoever makes one disposes of it.
    """

    def __init__(self, command: list[str], scratch_root: Path, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.scratch = Scratch(scratch_root)
        self._channel, theirs = socket.socketpair()
        #: Reentrant, so that a signal handler may put something here too.
        self.inbox: SimpleQueue[object] = SimpleQueue()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._hide = PathHider(self.scratch.folder)
        self._groups: tuple[Path, ...] = ()
        try:
            sandbox.prepare(self.scratch.folder)
            if sandbox.keeps_groups:  # else some would leave it, and be zombies of ours for good
                adopt_orphans()
            launch = sandbox.launch([*command, "--wait", str(theirs.fileno())], self.scratch.folder)
            self._groups = launch.groups
            self._process = subprocess.Popen(
                launch.command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=runner_environment(os.environ, self.scratch.folder),
                cwd=launch.cwd,
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except BaseException:
            self._channel.close()
            remove_groups(self._groups)
            self.scratch.remove()
            raise
        finally:
            theirs.close()
        self._readers: list[threading.Thread] = []
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        try:
            for pipe, use in ((self._process.stdout, self._take_line), (self._process.stderr, self._note)):
                reader = threading.Thread(target=_read_lines, args=(pipe, use), daemon=True)
                start(reader)
                self._readers.append(reader)
            start(self._waiter)
        except NoThread:
            self._signal(signal.SIGKILL)
            self._wait()
            self.dispose()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The last lines of its stderr."""
        return "\n".join(self._tail)

    @property
    def out(self) -> Path:
        return self.scratch.folder / "out"

    @property
    def job_file(self) -> Path:
        return self.scratch.folder / "job.json"

    def give(self, staged: Staged, seconds: float) -> None:
        """Hand over the job that lies in ``job_file`` with its inputs; ``seconds`` is how long it may take. Raises
        ``OSError`` where nobody takes it.
        """
        self.job_file.chmod(0o644)  # whatever the umask is: the runner may be another user
        allow_mapped(self.pid, staged.copied + staged.handed)
        # All cores, for as long as it may run; the supervisor's own clock comes first, where it lives.
        limit_cpu(self.pid, seconds * (os.cpu_count() or 1))
        files = self._sandbox.files_of(self.scratch.folder)
        handover = Handover(
            job=self.job_file, out=self.out, inputs=staged.inputs, notes=self.scratch.notes, files=files
        )
        self._say(handover)
        send_descriptors(self._channel, [handle.file.fileno() for handle in staged.handles])

    def give_folder(self, handle: int) -> None:
        """Let it write to the open folder, which was made for it beneath one of its writable ones."""
        self._sandbox.give_folder(handle)

    def answer(self, answer: CacheAnswer) -> None:
        """Answer its last request. One that is gone needs no answer, and one that left all earlier ones unread gets
        none: whoever wrote would wait for it.
        """
        with suppress(OSError, ValueError):  # ValueError: the pipe is closed on our side already
            if _has_room(self._process.stdin):
                self._say(answer)

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM, time to leave, SIGKILL; to all that it started. Returns when the process is gone."""
        if self.alive:
            self._signal(signal.SIGTERM)
        self.wait(grace_seconds)

    def wait(self, seconds: float) -> None:
        """Let it leave by itself; what is still there after that is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        if self.alive:
            self._signal(signal.SIGKILL)
        if self._waiter.ident is not None:
            self._waiter.join()

    def dispose(self) -> None:
        """Kill what is left of it, and remove its scratch folder."""
        self.wait(0)
        self._channel.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with suppress(OSError):  # what stdin still holds for a dead reader
                pipe.close()
        remove_groups(self._groups)
        self.scratch.remove()

    def _say(self, body: BaseModel) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(body.model_dump_json() + "\n")
        self._process.stdin.flush()

    def _signal(self, number: signal.Signals) -> None:
        # The process leads its group. PermissionError is how macOS says that only zombies are left. Never call this
        # when the process is long gone: its number may by then be another's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        code = self._process.wait()
        # What it started holds its pipes open and may hold the GPU.
        self._signal(signal.SIGKILL)
        reap_group(self._process.pid)
        for reader in self._readers:
            reader.join(READ_ON_SECONDS)
        self.inbox.put(Exit(code))

    def _take_line(self, line: str) -> None:
        line = self._hide(line)
        told = read_event(line) or read_request(line)
        if told is not None:
            self.inbox.put(told)
        elif line == READY:
            log.info("runner %s: a runner waits for a job", self.pid)
        else:
            log.warning("runner %s said on stdout what is no event: %.500s", self.pid, line)

    def _note(self, line: str) -> None:
        self._tail.append(self._hide(line[:2000]))
        log.info("runner %s: %.2000s", self.pid, line)


def _read_lines(pipe: IO[str], use: Callable[[str], None]) -> None:
    for line in iter(lambda: pipe.readline(LINE_CHARACTERS), ""):
        if text := line.rstrip():
            use(text)


def _has_room(pipe: IO[str] | None) -> bool:
    """For a line of a page at most, without waiting."""
    assert pipe is not None
    asked = select.poll()
    asked.register(pipe, select.POLLOUT)
    return bool(asked.poll(0))
