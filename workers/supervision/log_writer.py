"""What a runner says on stderr, kept for whoever asked for the job: in pieces, a second apart, in a thread of its own.

A runner may say more than anybody reads. Neither the attempt nor the database waits for it: lines that find no room
are left out, and counted.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import Self

from store.jobs import JobStore, Lease, LeaseLost
from store.passing import passing
from workers.supervision.threads import start

log = logging.getLogger("layercut.log_writer")

#: Between two pieces; and once an attempt has said more than anybody reads.
PIECE_SECONDS, LATER_SECONDS = 1.0, 16.0
#: Between two tries while the database is away.
RETRY_SECONDS = 0.5
FIRST_BYTES = 16 * 2**20
#: Of one piece, and of one line in characters.
PIECE_BYTES = 60 * 1024
LINE_CHARACTERS = 2000
#: Of lines that wait to be written.
MOST_WAITING = 256 * 1024
#: How long the end of an attempt waits for its last lines.
FLUSH_SECONDS = 5.0

LEFT_OUT = "… {count} lines were left out here: they came faster than they are written down\n"
#: Before what the supervisor says. A runner's line that begins so is moved.
OURS = "[layercut] "

#: Colours and movements of a terminal: they begin with ESC.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)?|[@-Z\\-_])")
#: What moves a cursor, ends a text, or shows a text in another order than it has.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(line: str) -> str:
    """``line`` with nothing in it that a terminal or a page would act on."""
    plain = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _TERMINAL.sub("", line))
    return plain.encode("utf-8", "backslashreplace").decode()


class LogWriter:
    """Of one attempt, while its lease holds. At most ``keep`` bytes of the job's log are kept. A context manager."""

    def __init__(self, store: JobStore, lease: Lease, keep: int) -> None:
        self._store, self._lease, self._keep = store, lease, keep
        self._change = threading.Condition()
        self._waiting: list[str] = []
        self._bytes = self._left_out = self._written = 0
        #: The piece that is under way, written again until the database says that it is there.
        self._piece = ""
        self._at: int | None = None
        self._next = time.monotonic()
        self._closed = self._lost = self._hurried = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __enter__(self) -> Self:
        start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(FLUSH_SECONDS)

    def add(self, line: str) -> None:
        """Have a line of the runner written down soon. Never waits."""
        self._put(f" {line}" if line.startswith(OURS) else line)

    def say(self, line: str) -> None:
        """A line of the supervisor's own."""
        self._put(f"{OURS}{line}")

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Return when all is written, or can no longer be, or after so many ``seconds``."""
        with self._change:
            self._hurried = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._lost or not (self._has_lines or self._piece), seconds)
            self._hurried = False

    def _put(self, line: str) -> None:
        text = f"{harmless(line[:LINE_CHARACTERS])}\n"
        size = len(text.encode())
        with self._change:
            if self._keep == 0 or self._lost:
                return
            if self._left_out or self._bytes + size > MOST_WAITING:
                self._left_out += 1
            else:
                self._waiting.append(text)
                self._bytes += size
            self._change.notify_all()

    @property
    def _has_lines(self) -> bool:
        return bool(self._waiting or self._left_out)

    def _run(self) -> None:
        while not (self._closed or self._lost):
            try:
                self._take()
                if self._piece:
                    self._write(self._piece)
                    self._done()
            except LeaseLost:
                with self._change:
                    self._lost = True
                    self._change.notify_all()
            except Exception as error:  # noqa: BLE001 - looked at there
                self._put_off(error)

    def _put_off(self, error: Exception) -> None:
        if passing(error) is not None:
            log.warning("job %s: its log waits for the database: %s", self._lease.job_id, type(error).__name__)
            self._pause(RETRY_SECONDS)
        else:  # a log that cannot be kept is no reason to lose the job
            log.error("job %s: cannot keep a piece of its log", self._lease.job_id, exc_info=error)
            self._done()

    def _take(self) -> None:
        """Have the next piece in hand, where one may be written now; waits for that."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._piece or self._has_lines)
            self._change.wait_for(lambda: self._closed or self._hurried, max(0.0, self._next - time.monotonic()))
            if not self._piece and not self._closed:
                self._piece = self._next_piece()

    def _next_piece(self) -> str:
        count = size = 0
        for line in self._waiting:
            size += len(line.encode())
            if count and size > PIECE_BYTES:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if self._left_out and not self._waiting:
            taken.append(LEFT_OUT.format(count=self._left_out))
            self._left_out = 0
        text = "".join(taken)
        self._bytes = sum(len(line.encode()) for line in self._waiting)
        return text

    def _write(self, text: str) -> None:
        if self._at is None:
            self._at = self._store.log_end(self._lease)
        self._at = self._store.write_log(self._lease, text, self._at, self._keep)

    def _done(self) -> None:
        with self._change:
            self._written += len(self._piece.encode())
            self._piece = ""
            self._next = time.monotonic() + (PIECE_SECONDS if self._written < FIRST_BYTES else LATER_SECONDS)
            self._change.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._closed, seconds)
