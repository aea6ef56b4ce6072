"""From whatever a file is written in to UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from api_schemas.errors import LayercutError
from sources.tables.data_file import DataFile

UTF8 = "utf-8"
BLOCK = 1 << 20

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
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with file.path.open("rb") as opened:
        first = True
        while True:
            block = opened.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise undecodable(file, encoding, str(line)) from None
            line += text.count("\n")
            if first:
                text, first = text.removeprefix("\ufeff"), not text
            if text:
                yield text
            if not block:
                return


def undecodable(file: DataFile, encoding: str, place: str) -> LayercutError:
    """What to say of bytes that are not in ``encoding``."""
    return file.error(f'not {encoding.upper()}; task.read.encoding may be "cp1252", for a file from Windows', place)


def as_utf8(file: DataFile, encoding: str, folder: Path) -> Path:
    """The file itself, or where it is in another encoding a copy in ``folder``."""
    if encoding == UTF8:
        return file.path
    copy = folder / "decoded"
    with copy.open("w", encoding=UTF8, newline="", errors="surrogatepass") as target:
        target.writelines(decoded(file, encoding))
    return copy
