"""A job's files, into a folder: each goes on where it was left, and is checked, before any of them is shown there."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from api_schemas.jobs import FileInfo
from layercut.client.answers import path_of
from layercut.client.calls import Calls
from layercut.client.errors import Broken, DamagedFile, InvalidAnswer
from layercut.client.folders import BLOCK, Destination, check_names
from layercut.client.retries import Patience, Retries, open_stream
from layercut.client.steps import Answer, Flow, Pause, Read, Request, work

#: Is told a file's name, how many of its bytes are there, and how many it has.
OnProgress = Callable[[str, int, int], None]

SILENCE_SECONDS = 120.0
PARTIAL = 206
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


class Downloading:
    def __init__(self, calls: Calls, patience: Patience) -> None:
        self._calls, self._patience = calls, patience

    def download(self, id: str, folder: Path, on_progress: OnProgress | None) -> Flow[Path]:
        """Raises ``DamagedFile`` where what comes is not what was announced, and ``ClientError`` where ``folder`` has
        other files.
        """
        files = yield from self._calls.files(id)
        check_names(files)
        to = Destination(Path(folder).expanduser().resolve())
        if not (yield from work(partial(to.holds, files))):
            for file in files:
                yield from self._fetch(id, file, to, on_progress or _nobody)
            yield from work(partial(to.publish, files))
        return to.folder

    def _fetch(self, id: str, file: FileInfo, to: Destination, tell: OnProgress) -> Flow[None]:
        there = yield from work(partial(to.prepare, file))
        if there is None:
            tell(file.name, file.bytes, file.bytes)
            return
        # What was left may be of other bytes than what came now: then all of it comes once more.
        for begin in dict.fromkeys((there, 0)):
            yield from self._fill(id, file, to, begin, tell)
            if (yield from work(partial(to.keep, file))):
                return
        raise DamagedFile(f"{file.name} came whole, and its sha256 is not {file.sha256}")

    def _fill(self, id: str, file: FileInfo, to: Destination, at: int, tell: OnProgress) -> Flow[None]:
        """The rest of the file, from ``at`` on, over as many connections as it takes."""
        retries = self._patience.begin()
        while at < file.bytes:
            request = Request("GET", path_of("jobs", id, "files", *file.name.split("/")), silence=SILENCE_SECONDS)
            if at:
                # No If-Range: an object store that sends the file has another tag for it. The sha256 tells at the end.
                request = request.having(Range=f"bytes={at}-")
            answer = yield from open_stream(request, retries, block=BLOCK)
            at, why = yield from _append(file, to, _begin(answer, at), tell, retries)
            if why is not None:
                yield Pause(retries.after_break(request, why))


def _append(
    file: FileInfo, to: Destination, at: int, tell: OnProgress, retries: Retries
) -> Flow[tuple[int, Broken | None]]:
    """What comes now: where it ended, and why, where that is not the file's end."""
    try:
        while block := (yield Read()):
            at = yield from work(partial(to.append, file, block, at))
            retries.went_on()
            tell(file.name, at, file.bytes)
    except Broken as why:
        return at, why
    return at, None if at == file.bytes else Broken(f"{at} of {file.bytes} bytes came")


def _begin(answer: Answer, asked: int) -> int:
    """Where what comes belongs: as was asked, or at the start where the service sends the whole file."""
    if answer.status != PARTIAL:
        return 0
    found = _RANGE.match(answer.headers.get("content-range", ""))
    if found is None or int(found[1]) != asked:
        raise InvalidAnswer(f"{answer.request}: bytes from {asked} on were asked for, and others came")
    return asked


def _nobody(name: str, done: int, total: int) -> None:
    """Is told."""
