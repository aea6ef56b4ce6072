"""From whatever a file is written in to UTF-8."""

from __future__ import annotations

import codecs
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Self

from api_schemas.errors import LayercutError
from sources.tables.bounds import MAX_ROW
from sources.tables.data_file import DataFile

UTF8 = "utf-8"

#: Of a file's beginning, by which it is told how the file is written: in bytes, or in characters.
SAMPLE = 1 << 20

# The longer marks first: that of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Codecs of Python's that are of no file.
NO_TEXTS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})


#: What may wait in a decoder for its end; of UTF-7 it grows, and is decoded anew with each block.
MOST_WAITING = MAX_ROW


def encoding_of(file: DataFile, asked: str) -> str:
    """The name of the file's encoding: as ``asked``, or for `auto` what its first bytes say, else UTF-8.

    Raises ``dataset_invalid`` for an encoding that there is not, and for UTF-16 that nothing says so of.
    """
    if asked != "auto":
        return _known(file, asked)
    with file.path.open("rb") as opened:
        start = opened.read(4096)
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if marked is None and b"\0" in start[:64]:
        order = "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
        raise file.error(f'byte 0 among the first ones: not UTF-8. task.read.encoding may be "{order}"', "1")
    return marked or UTF8


def _known(file: DataFile, name: str) -> str:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    # Codecs such as zip or rot13 are no text's.
    if found is None or found.name in NO_TEXTS or not getattr(found, "_is_text_encoding", False):
        message = f"{file.name}: there is no encoding {name!r}; known are utf-8, utf-16, cp1252, latin-1 and more"
        raise LayercutError("dataset_invalid", message, param=file.param)
    return UTF8 if found.name in ("utf-8", "utf-8-sig") else found.name


def decoded(file: DataFile, encoding: str) -> Iterator[str]:
    """The file's text, block by block, without a byte order mark.

    Raises ``dataset_invalid`` with the line of what is not in this encoding.
    """
    decoder, line, first = codecs.getincrementaldecoder(encoding)(), 1, True
    for block in chain(file.blocks(), (b"",)):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise undecodable(file, encoding, str(line)) from None
        except UnicodeError as error:  # UTF-16 and UTF-32 without a byte order mark
            raise file.error(f'not {encoding.upper()}: {error}. Say which, such as "utf-16-le"', str(line)) from None
        line += text.count("\n")
        if first:
            text, first = text.removeprefix("\ufeff"), not text
        if text:
            yield text
        elif len(decoder.getstate()[0]) > MOST_WAITING:
            raise undecodable(file, encoding, str(line))


def sample_of(file: DataFile, encoding: str) -> tuple[str, bool]:
    """How the file begins, and whether it goes on; raises as ``decoded``. What is no UTF-8 is replaced there."""
    if encoding == UTF8:
        with file.path.open("rb") as opened:
            start = opened.read(SAMPLE + 1)
        return start[:SAMPLE].decode(UTF8, "replace").removeprefix("\ufeff"), len(start) > SAMPLE
    sample = ""
    for block in decoded(file, encoding):
        sample += block
        if len(sample) > SAMPLE:
            return sample[:SAMPLE], True
    return sample, False


def undecodable(file: DataFile, encoding: str, place: str) -> LayercutError:
    """What to say of bytes that are not in ``encoding``."""
    return file.error(f'not {encoding.upper()}; task.read.encoding may be "cp1252", for a file from Windows', place)


def as_utf8(file: DataFile, encoding: str, folder: Path) -> Path:
    """The file itself, or where it is in another encoding a copy in ``folder``."""
    if encoding == UTF8:
        return file.path
    with Copy(file, folder / "decoded") as copy:
        for text in decoded(file, encoding):
            copy.write(text)
    return copy.path


class Copy:
    """What is written anew of ``file``, in UTF-8 and within bounds. Use as a context manager. ``room``: bytes left.

    ``write`` raises ``dataset_invalid`` for more than fits into half of what the disk has left, or takes too long.
    """

    def __init__(self, file: DataFile, path: Path) -> None:
        self.path = path
        self._file, self.room = file, min(file.most_copied, shutil.disk_usage(path.parent).free // 2)

    def __enter__(self) -> Self:
        self._target = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._target.close()

    def write(self, text: str) -> None:
        # Half a character is for DuckDB to find, which says in which row.
        data = text.encode(UTF8, "surrogatepass")
        self.room -= len(data)
        if self.room < 0:
            raise self._file.error(
                "written anew, as is needed here, the file takes more room than there is: give it in UTF-8, with"
                " one kind of line end and doubled quotes instead of backslashes"
            )
        self._file.check_time()
        self._target.write(data)
