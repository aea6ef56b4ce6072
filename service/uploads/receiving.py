"""An upload that comes in one request: `curl -F file=@reviews.csv`. It is ready, or nothing of it is left."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from api_schemas.errors import LayercutError
from api_schemas.uploads import MAX_FILES, UploadKind
from service.uploads.contents import content_sha256, inspect, unpack
from service.uploads.form import Form, Part
from service.uploads.stored_bytes import Blocks, file_reader, sought
from service.uploads.stores import Stores
from service.uploads.writer import Writer
from sources.uploads.models import LeftOut, is_read
from sources.uploads.names import check_name, check_read, is_archive
from store.manifests import StoredFile
from store.stored_uploads import Within, Writing, Written
from store.upload_rows import AnyUpload, parts_of
from store.upload_uses import ReadyFile

FILE = "file"
#: Fields beside the files.
FIELDS = ("name", "sha256")
#: Of one request: files that are not kept count too.
MAX_PARTS = MAX_FILES + 200
LONGEST_NAME = 200
#: Where a zip waits, which has to be sought in.
ARCHIVE = "archive"

_SHA256 = re.compile("[0-9a-fA-F]{64}")


@dataclass
class Received:
    """What has come of the form. ``sha256`` is of the bytes of the first file as they were sent."""

    files: list[StoredFile] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    fields: dict[str, str] = field(default_factory=dict)
    #: Whether the first file was an archive.
    unpacked: bool = False
    #: Names of all files, by what some disks take for the same.
    sent: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


class Receiver:
    """Of one kind of upload, for one tenant."""

    def __init__(self, kind: UploadKind, stores: Stores) -> None:
        self._kind, self._stores = kind, stores
        self._writer: Writer | None = None
        self._announced = 0

    def receive(self, form: Form, size: int, within: Within | None) -> AnyUpload:
        """The upload that ``form`` is, whose body has ``size`` bytes, or 0 where that is not known. In a thread.

        Raises what is wrong with it, and ``UploadStopped``.
        """
        self._announced = size
        held = self._stores.uploads.begin(self._kind, None, size)
        try:
            with Writer(self._stores, held) as writer:
                self._writer = writer
                written = self._written(held, writer, self._read(form, writer))
                return self._stores.uploads.finish(held, written, within)
        except BaseException:
            self._undo(held)
            raise

    def stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()

    def _read(self, form: Form, writer: Writer) -> Received:
        found = Received()
        for number, part in enumerate(form.parts()):
            if number >= MAX_PARTS:
                raise LayercutError("payload_too_large", f"the form has more than {MAX_PARTS} parts")
            if part.name == FILE:
                self._take_file(part, found, writer)
            else:
                _take_field(part, found)
        _check_whole(found)
        return found

    def _take_file(self, part: Part, found: Received, writer: Writer) -> None:
        name = part.filename or ""
        check_name(name)
        if name.casefold() in found.sent:
            raise LayercutError("validation_failed", f"two files are called {name!r}, in any letters")
        archive = self._kind is UploadKind.MODEL and is_archive(name)
        if found.sent and (archive or found.unpacked):
            raise LayercutError("archive_invalid", "an archive comes alone: it holds all files of the model")
        found.sent[name.casefold()] = name
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for block in part.blocks:
                digest.update(block)
                yield block

        blocks = hashed()
        if archive:
            self._unpack(name, blocks, found, writer)
        elif self._kind is UploadKind.MODEL and not is_read(name):
            found.left_out.add(name)
        else:
            check_read(name, self._kind)
            found.files.append(writer.put(name, None, blocks, most=self._announced))
        for _ in blocks:  # to the end, for the digest
            pass
        found.sha256 = found.sha256 or digest.hexdigest()

    def _unpack(self, name: str, blocks: Iterator[bytes], found: Received, writer: Writer) -> None:
        if name.lower().endswith(".zip"):
            found.files, found.left_out = self._unpack_zip(name, blocks, writer)
        else:
            found.files, found.left_out = unpack(name, cast(BinaryIO, Blocks(blocks)), writer)
        found.unpacked = True

    def _unpack_zip(self, name: str, blocks: Iterator[bytes], writer: Writer) -> tuple[list[StoredFile], LeftOut]:
        """It has its list of members at its end, and so it is kept beside them meanwhile."""
        beside = parts_of(writer.held.upload_id)
        size = writer.keep(beside, ARCHIVE, blocks, self._announced)
        source = sought(size, file_reader(self._stores.artifacts, beside, ARCHIVE))
        try:
            return unpack(name, cast(BinaryIO, source), writer)
        finally:
            with suppress(Exception):  # it is swept
                self._stores.artifacts.delete(beside)

    def _written(self, held: Writing, writer: Writer, found: Received) -> Written:
        announced = found.fields.get("sha256", "").lower()
        if announced and announced != found.sha256:
            raise hash_mismatch(next(iter(found.sent.values())), announced, found.sha256)
        inspection, notes = inspect(held, found.files, found.left_out, self._stores)
        files = [ReadyFile(file.name, file.bytes, file.sha256) for file in found.files]
        return Written(
            files, content_sha256(found.files), writer.finish(), inspection, notes, name=found.fields.get("name")
        )

    def _undo(self, held: Writing) -> None:
        """At once, as far as it can be done; what is left, or comes still, is swept."""
        with suppress(Exception):
            # The row first: where it is ready, and only the answer to that was lost, its files stay.
            if self._stores.uploads.drop(held):
                self._stores.artifacts.delete(held.prefix)


def hash_mismatch(name: str, announced: str, found: str, **details: str | int) -> LayercutError:
    return LayercutError(
        "upload_hash_mismatch", f"{name}: its sha256 was announced as {announced}, and is {found}: send it again",
        details={"file": name, "announced": announced, "found": found, **details},
    )  # fmt: skip


def _take_field(part: Part, found: Received) -> None:
    if part.name not in FIELDS or part.filename is not None:
        known = ", ".join(FIELDS)
        raise LayercutError(
            "validation_failed", f"unknown part {part.name[:80]!r}: a file is called {FILE}, and there are {known}"
        )
    text = part.text().strip()
    if part.name == "sha256" and _SHA256.fullmatch(text) is None:
        raise LayercutError("validation_failed", "sha256 is 64 hexadecimal digits", param="sha256")
    if part.name == "name" and (len(text) > LONGEST_NAME or "\0" in text):
        raise LayercutError("validation_failed", f"name has at most {LONGEST_NAME} characters", param="name")
    found.fields[part.name] = text


def _check_whole(found: Received) -> None:
    if not found.sent:
        raise LayercutError(
            "validation_failed", f"no file came: send it as the part {FILE}, as curl -F {FILE}=@data.csv does"
        )
    if found.fields.get("sha256") and len(found.sent) > 1:
        raise LayercutError(
            "validation_failed", "sha256 is of one file: of several, announce them as JSON", param="sha256"
        )
