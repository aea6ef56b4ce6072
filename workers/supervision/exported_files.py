"""What a runner exported, taken over and checked by the supervisor: the runner may be anybody's by then.

Its folder is listed by handle, and every name, kind and size must be right before one byte is read. Then it is copied,
as the runner may hold a file open; and the copies are read as a model of strangers is, by the same checks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.figures import FILES as FIGURES
from api_schemas.reports import Report
from api_schemas.requests import ModelRef
from sources.beneath import Folder, NotRegular
from sources.chosen_files import read_headers, read_json
from sources.config_keys import short
from sources.facts import MAX_SHARDS
from sources.file_starts import PICKLES
from sources.model_files import EXPORTED_FOLDERS, MAX_SMALL, is_exported, is_folder
from sources.model_folder import read_facts
from sources.strict_json import limit_of, parse
from workers.export.sums import SUMS
from workers.supervision.exported_figures import MOST_BYTES, fault_of
from workers.supervision.runner_folders import check_room, copy_file, entered, entered_in, made_folder, opened_file

MAX_FILES = MAX_SHARDS + 200
REPORT = "report.json"
#: All that a job has to publish that only evaluates.
EVALUATED = frozenset({REPORT, "README.md", *FIGURES})
#: Of a report. A search in a model of a thousand layers has some thousands.
MAX_REPORT_OBJECTS = 20_000
#: Faults in it that are looked at one by one.
MAX_TOLD = 1000
#: How errors call the model.
ID = "the export"
REFUSED = "verification_failed"

WEIGHTS = ".safetensors"
GRAPH, TENSORS = ".onnx", ".onnx_data"
#: A graph's first field, the version of its form, stands at its beginning in all that write one.
GRAPH_START = b"\x08"


@dataclass(frozen=True)
class Listed:
    """A regular file of so many bytes, by what the folder said of it."""

    name: str
    bytes: int

    @property
    def parts(self) -> tuple[str, str]:
        """The folder that it is in, empty for none, and its name there."""
        folder, _, name = self.name.rpartition("/")
        return folder, name


@contextmanager
def opened_export(scratch: Path, *names: str) -> Iterator[int]:
    """A handle of the folder that ``names`` lead to beneath ``scratch``; raises ``verification_failed`` for none."""
    with ExitStack() as stack:
        with _explained(names[-1]):
            source = stack.enter_context(entered(scratch, *names))
        yield source


def take_over(source: int, target: int, limit: int, stopped: Callable[[], bool]) -> list[str]:
    """Copy what is published of the open folder ``source`` into ``target``, an empty one of our own; the names.

    Raises ``verification_failed`` for what no runner of ours exports, and for more than ``limit`` bytes; nothing is
    copied then. Raises ``OSError`` where the disk has no room, and where ``stopped`` says so.
    """
    files = list_files(source)
    total = sum(file.bytes for file in files)
    if total > limit:
        raise refused(f"its files have {total} bytes, and at most {limit} are published of this job")
    check_room(target, total)
    # The list of hashes is written anew, of what is published.
    taken = [file for file in files if file.name != SUMS]
    for file in taken:
        _copy(source, target, file, stopped)
    return [file.name for file in taken]


def list_files(folder: int) -> list[Listed]:
    """The files of the open ``folder``, sorted. Raises ``verification_failed`` for anything that may not be there."""
    found: list[Listed] = []
    for within, name, path in _entries(folder):
        if len(found) == MAX_FILES:
            raise refused(f"it has more than {MAX_FILES} files")
        if not is_exported(path):
            raise refused(f"{short(path)} is no file that a job delivers")
        with _explained(path), opened_file(within, name) as handle:
            found.append(Listed(path, _size(handle, path)))
    return sorted(found, key=lambda file: file.name)


def check_exported(path: Path, names: Sequence[str], *, has_model: bool = True) -> None:
    """Raise ``verification_failed`` unless the files ``names`` in our own folder ``path`` are a model that we would
    take, without code, and what belongs to it; without ``has_model``, a report and its card alone.
    """
    folder = Folder(path, path, id=ID)
    if not has_model and (more := sorted({*names} - EVALUATED)):
        raise refused(f"{short(more[0])} is no file of a job that only evaluates")
    try:
        read_headers(folder, [name for name in names if name.endswith(WEIGHTS)])  # those that no index lists, too
        for name in names:
            if not name.endswith((WEIGHTS, TENSORS)):  # which begin with any bytes
                (_check_json if name.endswith(".json") else _check_start)(folder, name)
            if name in FIGURES and (fault := fault_of(name, folder.read(name, MOST_BYTES))):
                raise refused(f"{name} {fault}")
        # What a stock loader does with them, and what their sizes may be, is looked at where they come in, too.
        if has_model:
            read_facts(folder, ModelRef(id=ID))
    except LayercutError as error:
        raise (error if error.code == REFUSED else refused(error.message)) from None


def refused(why: str) -> LayercutError:
    return LayercutError(REFUSED, f"what was exported is not published: {why}")


def _entries(folder: int) -> Iterator[tuple[int, str, str]]:
    """(the open folder it is in, its name there, its path) of everything in ``folder``, and in the known ones in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_folder(entry.name, EXPORTED_FOLDERS):
                yield folder, entry.name, entry.name
                continue
            with _explained(entry.name), entered_in(folder, entry.name) as inner, os.scandir(inner) as files:
                for file in files:
                    yield inner, file.name, f"{entry.name}/{file.name}"


def _size(handle: int, name: str) -> int:
    """Of the open file. Raises ``verification_failed`` for one that is larger than it can be, or mostly a hole."""
    status = os.fstat(handle)
    limit = _limit(name)
    if limit is not None and status.st_size > limit:
        raise refused(f"{short(name)} has {status.st_size} bytes, and at most {limit} are published")
    # Both: a disk that packs what is on it has fewer blocks, and one that skips zeros has some holes.
    if 2 * 512 * status.st_blocks < status.st_size and _has_hole(handle, status.st_size):
        raise refused(f"{short(name)} is sparse: most of its {status.st_size} bytes were never written")
    return status.st_size


def _has_hole(handle: int, size: int) -> bool:
    try:
        return os.lseek(handle, 0, os.SEEK_HOLE) < size
    finally:
        os.lseek(handle, 0, os.SEEK_SET)  # where it is read from


def _limit(name: str) -> int | None:
    """In bytes; None for weights, which are limited together."""
    if name.endswith((WEIGHTS, GRAPH, TENSORS)):
        return None
    if name in FIGURES:
        return MOST_BYTES
    return limit_of(name) if name.endswith(".json") else MAX_SMALL


def _copy(source: int, target: int, file: Listed, stopped: Callable[[], bool]) -> None:
    with ExitStack() as stack:
        folder, name = file.parts
        stack.enter_context(_explained(file.name))
        if folder:
            source = stack.enter_context(entered_in(source, folder))
            target = stack.enter_context(made_folder(target, folder))
        handle = stack.enter_context(opened_file(source, name))
        if _size(handle, file.name) != file.bytes:
            raise refused(f"{short(file.name)} was changed while it was read")
        copy_file(handle, file.bytes, target, name, stopped)


def _check_json(folder: Folder, name: str) -> None:
    (_check_report if name == REPORT else read_json)(folder, name)


def _check_report(folder: Folder, name: str) -> None:
    data = folder.read(name, limit_of(name))
    # What is wrong takes more memory than what is right: an object of a dozen fields may lack each of them.
    if data.count(b"{") > MAX_REPORT_OBJECTS:
        raise refused(f"{name} has more than {MAX_REPORT_OBJECTS} objects")
    try:
        Report.model_validate(parse(data, name))
    except ValidationError as error:
        raise refused(f"{name} is no report: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """What is wrong; each fault that is told takes a kilobyte, and there is no asking for one alone."""
    if (count := error.error_count()) > MAX_TOLD:
        return f"{count} values in it are wrong"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{first['msg'][:200]} at {short('/'.join(map(str, first['loc'])))}"


def _check_start(folder: Folder, name: str) -> None:
    with folder.open(name) as file:
        start = file.read(4)
    if start.startswith(PICKLES):
        raise refused(f"{short(name)} begins as a pickle does, or a zip")
    if name.endswith(GRAPH) and not start.startswith(GRAPH_START):
        raise refused(f"{short(name)} does not begin as a graph of ONNX does")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the kernel says of a file that the runner left, in words that name no folder of the host."""
    try:
        yield
    except NotRegular as error:
        raise refused(f"{short(name)} {error.strerror}") from None
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        raise refused(f"{short(name)} {UNUSABLE[error.errno]}") from None


UNUSABLE = {
    errno.ELOOP: "is a link",
    errno.ENOTDIR: "is a link, or a file where a folder should be",
    errno.EACCES: "cannot be read by its owner",
    errno.ENXIO: "is no regular file",
    errno.ENOENT: "is not there",
}
