"""One runner process: started in a session of its own, heard line by line, killed with everything it started."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel

from api_schemas.errors import LayercutError
from api_schemas.events import failure
from sources.staging import Staged
from workers.descriptors import send_descriptors
from workers.protocol import READY, CacheAnswer, Handover, WarningsAnswer, read_event, read_request
from workers.sandbox.groups import remove_groups
from workers.sandbox.kernel import adopt_orphans
from workers.sandbox.limits import allow_mapped, limit_cpu
from workers.sandbox.sandbox import Sandbox
from workers.supervision.hidden_paths import PathHider
from workers.supervision.inbox import Inbox
from workers.supervision.memory_kills import Counted, MemoryKills
from workers.supervision.process_group import reap_group
from workers.supervision.runner_environment import runner_environment
from workers.supervision.scratch import Scratch
from workers.supervision.threads import NoThread, start

log = logging.getLogger("layercut.runner")

#: Of a line; no event is as long.
LINE_CHARACTERS = 4 * 2**20
TAIL_LINES = 40
#: Of one runner, in our own log: of what it says on stderr, or says wrong.
LOGGED_LINES = 10_000
#: What the runner's own loggers begin a line with; all else that it says on stderr is told as INFO.
LEVELLED = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")
LONG_LINE = f"the job's runner said a line of more than {LINE_CHARACTERS} characters"
#: A process that left the group may hold the pipes open for ever.
READ_ON_SECONDS = 5.0


OUT_OF_MEMORY = (
    "the runner was killed by SIGKILL: {evidence}. A smaller recovery.batch_size or max_length takes less memory; or"
    " give the worker more, and see LAYERCUT_RUNNER_MEMORY_BYTES"
)
#: By whether the counter is the runner's own.
EVIDENCE = {
    True: "the kernel's out-of-memory killer ended it (its control group counts {kills} more)",
    False: "it may have been the kernel's out-of-memory killer (the worker's control group counts {kills} more, which"
    " may be others')",
}
#: Of SIGKILL, where it was not ours and no control group counts it.
MAYBE_MEMORY = "; the kernel does that when memory runs out, and nothing else was seen"


@dataclass(frozen=True)
class Exit:
    """The process is gone. Negative codes are signals, as in `subprocess`. ``memory_kills`` is how often the kernel
    killed for want of memory while it had a job; None where the supervisor itself has killed it.
    """

    code: int
    memory_kills: Counted | None = None

    def __str__(self) -> str:
        if self.code >= 0:
            return f"the runner exited with code {self.code}"
        if self.error is not None:
            return self.error.message
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"the runner was killed by {name}{MAYBE_MEMORY if self._by_kernel else ''}"

    @property
    def error(self) -> LayercutError | None:
        """What the job ends with, where this was its last attempt; None: that attempts were lost."""
        counted = self.memory_kills
        if self._by_kernel and counted is not None and counted.kills:
            evidence = EVIDENCE[counted.exact].format(kills=counted.kills)
            return LayercutError("out_of_memory", OUT_OF_MEMORY.format(evidence=evidence))
        return None

    @property
    def _by_kernel(self) -> bool:
        return self.code == -signal.SIGKILL and self.memory_kills is not None


class RunnerProcess:
    """A waiting runner with its scratch folder. ``inbox`` gets its events, what it asks, and one ``Exit``
    after the last of them. While the inbox is full, the runner waits.

    Raises ``OSError`` where it cannot be started. Whoever makes one disposes of it.
    """

    def __init__(self, command: list[str], scratch_root: Path, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.scratch = Scratch(scratch_root)
        try:
            self._channel, theirs = socket.socketpair()
        except OSError:
            self.scratch.remove()
            raise
        self.inbox = Inbox()
        #: It was handed a job, or part of one.
        self.given = False
        self._logged = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        #: Gets each line of its stderr; must not wait, nor raise.
        self.hears: Callable[[str], None] | None = None
        self._hide = PathHider(self.scratch.folder)
        self._groups: tuple[Path, ...] = ()
        self._killed = False
        try:
            sandbox.prepare(self.scratch.folder)
            self.scratch.note_parts()
            if sandbox.keeps_groups:  # else some would leave it, and be zombies of ours for good
                adopt_orphans()
            launch = sandbox.launch([*command, "--wait", str(theirs.fileno())], self.scratch.folder)
            self._groups = launch.groups
            self._memory_kills = MemoryKills(self._groups)
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
        self.scratch.note_group(self._process.pid)
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
        """Not by ``poll``: beside a thread that waits it says that a dead one lives, until that thread has run."""
        if self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return self._process.poll() is None
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # waited for this moment
            return False

    @property
    def fit(self) -> bool:
        """Whether it can still do a job."""
        return self.alive and self.scratch.whole

    def reset(self) -> bool:
        """Have it as it was before it was taken for a job that it never got; whether it is."""
        if not (self.fit and self.scratch.clear_inputs()):
            return False
        self.inbox.clear()
        return self.alive  # its exit may have been among what was cleared

    @property
    def robbed(self) -> bool:
        """Whether something is gone of what it was given for its job: what it then says is no fault of the job's."""
        return not (self.scratch.whole and self.job_file.exists())

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
        self._memory_kills = MemoryKills(self._groups)  # from here on: it may have waited for days
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

    def answer(self, answer: CacheAnswer | WarningsAnswer) -> None:
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
            self._killed = True
            self._signal(signal.SIGKILL)
        if self._waiter.ident is not None:
            self._waiter.join()

    def dispose(self) -> None:
        """Kill what is left of it, and remove its scratch folder."""
        self.inbox.close()
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
        kills = None if self._killed else self._memory_kills.since()
        # What it started holds its pipes open and may hold the GPU.
        self._signal(signal.SIGKILL)
        reap_group(self._process.pid)
        for reader in self._readers:
            reader.join(READ_ON_SECONDS)
        self.inbox.put(Exit(code, kills))
        # What the process has left behind may go on saying things: it is heard no more.
        self.inbox.close()

    def _take_line(self, line: str, whole: bool) -> None:
        if not whole:
            log.warning("runner %s said a line without end on stdout", self.pid)
            self.inbox.offer(failure(LayercutError("too_many_events", LONG_LINE)))
            return
        line = self._hide(line)
        told = read_event(line) or read_request(line)
        if told is not None:
            self.inbox.offer(told)
        elif line == READY:
            log.info("runner %s: a runner waits for a job", self.pid)
        else:
            self._log(logging.WARNING, "said on stdout what is no event: ", line[:500])

    def _note(self, line: str, _: bool) -> None:
        line = self._hide(line[:2000])
        self._tail.append(line)
        if self.hears is not None:
            self.hears(line)
        levelled = LEVELLED.match(line)
        self._log(logging.getLevelNamesMapping()[levelled[1]] if levelled else logging.INFO, "", line)

    def _log(self, level: int, what: str, line: str) -> None:
        self._logged += 1
        if self._logged <= LOGGED_LINES:
            log.log(level, "runner %s: %s%s", self.pid, what, line)
        elif self._logged == LOGGED_LINES + 1:
            log.warning("runner %s: it said more than %s lines; no more of them are logged", self.pid, LOGGED_LINES)


def _read_lines(pipe: IO[str], use: Callable[[str, bool], None]) -> None:
    for line, whole in _lines(pipe):
        if text := line.rstrip():
            use(text, whole)


def _lines(pipe: IO[str]) -> Iterator[tuple[str, bool]]:
    """Each line, or the beginning of one that is too long, and whether it is whole."""
    while line := pipe.readline(LINE_CHARACTERS):
        whole = len(line) < LINE_CHARACTERS or line.endswith("\n")
        yield line, whole
        while not whole:
            rest = pipe.readline(LINE_CHARACTERS)
            whole = not rest or rest.endswith("\n")


def _has_room(pipe: IO[str] | None) -> bool:
    """For a line of a page at most, without waiting."""
    assert pipe is not None
    asked = select.poll()
    asked.register(pipe, select.POLLOUT)
    return bool(asked.poll(0))
