"""Lines of a UTF-8 file, with their numbers, so that an error can say where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from api_schemas.errors import LayercutError
from sources.beneath import open_plain

MAX_LINE = 16 * 2**20
BOM = b"\xef\xbb\xbf"


class Lines:
    """Iterates over the lines of ``path``, line end included, a byte order mark left out.

    ``name`` is what errors call the file. After ``limit`` bytes reading stops at a line end and ``cut`` is true.
    Only ``\\n`` ends a line: the other characters that Unicode calls line ends do occur inside texts.
    """

    def __init__(self, path: Path, name: str, *, param: str, limit: int | None = None) -> None:
        self.path = path
        self.name = name
        self.param = param
        self.limit = limit
        self.number = 0
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        read = 0
        with self._open() as file:
            while line := file.readline(MAX_LINE + 1):
                if self.limit is not None and read >= self.limit:
                    self.cut = True
                    return
                read += len(line)
                self.number += 1
                yield self._decode(line)

    def _open(self) -> BinaryIO:
        try:
            return open_plain(self.path)
        except OSError as error:
            raise self.error(f"the file cannot be read: {error.strerror}", 1) from None

    def _decode(self, line: bytes) -> str:
        if len(line) > MAX_LINE:
            raise self.error(f"the line is longer than {MAX_LINE // 2**20} MiB")
        if b"\0" in line:
            raise self.error("byte 0 in the line, which is no text")
        try:
            return (line.removeprefix(BOM) if self.number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise self.error(f"not UTF-8: byte 0x{byte:02x} at position {error.start + 1} of the line") from None

    def error(self, message: str, line: int | None = None) -> LayercutError:
        """``dataset_invalid`` at ``line``, or at the line that was read last."""
        return LayercutError("dataset_invalid", f"{self.name}:{line or self.number}: {message}", param=self.param)
