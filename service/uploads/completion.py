"""An upload that came in parts is put together: its files are joined and hashed, looked into, and listed.

Whoever dies in between is followed by another, who begins anew: until the list of the files is written nothing counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from api_schemas.errors import LayercutError
from api_schemas.uploads import UploadKind
from service.uploads.contents import content_sha256, inspect, unpack
from service.uploads.receiving import hash_mismatch
from service.uploads.stored_bytes import Blocks, Read, parts_reader, sought
from service.uploads.stores import Stores
from service.uploads.writer import Writer
from sources.tables.data_file import PassingFault
from sources.uploads.models import LeftOut
from sources.uploads.names import is_archive
from store.manifests import StoredFile
from store.stored_uploads import Writing, Written
from store.upload_rows import AnyUpload, parts_of
from store.upload_uses import ReadyFile
from store.upload_writing import SentFile
from store.uploads import UploadStopped

#: What is raised of an upload that nobody can ever use: by what is in it, and not by where it lies.
LASTING = 422


class Completer:
    """Of one upload, in a thread."""

    def __init__(self, stores: Stores, kind: UploadKind, upload_id: str) -> None:
        self._stores, self._kind, self._upload_id = stores, kind, upload_id
        self._writer: Writer | None = None
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        if self._writer is not None:
            self._writer.stop()

    def complete(self) -> AnyUpload | None:
        """None where it is ready already, or another has it in hand.

        Raises as ``UploadStore.take``, ``upload_hash_mismatch`` for files that are not those that were announced, which
        begin anew, and what is wrong with the others, which the upload has failed with then.
        """
        held = self._stores.uploads.take(self._upload_id, self._kind)
        return None if held is None else self._complete(held)

    def _complete(self, held: Writing) -> AnyUpload:
        try:
            with Writer(self._stores, held) as writer:
                self._writer = writer
                if self._stopped:
                    raise UploadStopped
                return _PuttingTogether(self._stores, held, writer).done()
        except LayercutError as error:
            passing = isinstance(error, PassingFault) or error.code == "upload_hash_mismatch"
            if error.kind.status != LASTING or passing:
                self._let_go(held)
                raise
            self._stores.uploads.fail(held, error)
            with suppress(Exception):  # it is swept
                self._stores.artifacts.delete(held.prefix)
            raise
        except BaseException:
            self._let_go(held)
            raise

    def _let_go(self, held: Writing) -> None:
        with suppress(Exception):  # the right ends by itself
            self._stores.uploads.let_go(held)


class _PuttingTogether:
    def __init__(self, stores: Stores, held: Writing, writer: Writer) -> None:
        self._stores, self._held, self._writer = stores, held, writer

    def done(self) -> AnyUpload:
        held = self._held
        files, left_out = self._unpacked() if self._is_archive else (self._joined(), LeftOut())
        inspection, notes = inspect(held, files, left_out, self._stores)
        ready = [ReadyFile(file.name, file.bytes, file.sha256) for file in files]
        written = Written(ready, content_sha256(files), self._writer.finish(), inspection, notes)
        made = self._stores.uploads.finish(held, written)
        with suppress(Exception):  # they are swept
            self._stores.artifacts.delete(parts_of(held.upload_id))
        return made

    @property
    def _is_archive(self) -> bool:
        names = [file.name for file in self._held.files]
        return self._held.kind is UploadKind.MODEL and len(names) == 1 and is_archive(names[0])

    def _joined(self) -> list[StoredFile]:
        files = [self._writer.put(sent.name, sent.bytes, self._blocks(sent)) for sent in self._held.files]
        self._check_hashes([file.sha256 for file in files])
        return files

    def _unpacked(self) -> tuple[list[StoredFile], LeftOut]:
        (sent,) = self._held.files
        if sent.sha256 is not None:
            digest = hashlib.sha256()
            for block in self._blocks(sent):
                digest.update(block)
            self._check_hashes([digest.hexdigest()])
        if sent.name.lower().endswith(".zip"):
            source: BinaryIO = cast(BinaryIO, sought(sent.bytes, self._read(sent)))
        else:
            source = cast(BinaryIO, Blocks(iter(self._blocks(sent))))
        return unpack(sent.name, source, self._writer)

    def _check_hashes(self, found: Sequence[str]) -> None:
        """Have the files sent again that are not those that were announced."""
        pairs = zip(self._held.files, found, strict=True)
        wrong = [(sent, sha256) for sent, sha256 in pairs if sent.sha256 not in (None, sha256)]
        if wrong:
            self._send_again([sent for sent, _ in wrong])
            sent, sha256 = wrong[0]
            raise hash_mismatch(sent.name, sent.sha256 or "", sha256, offset=0)

    def _send_again(self, files: Sequence[SentFile]) -> None:
        """The ``files`` begin anew. Their parts go, and these alone: the next ones may be coming already."""
        self._stores.uploads.send_again(self._held, [sent.number for sent in files])
        with suppress(Exception):  # they are swept with the rest
            names = [part.path for sent in files for part in sent.parts]
            self._stores.artifacts.discard(parts_of(self._held.upload_id), names)

    def _read(self, sent: SentFile) -> Read:
        stored = parts_reader(self._stores.artifacts, self._held.upload_id, sent.parts)

        def read(start: int, end: int) -> Iterator[bytes]:
            try:
                yield from stored(start, end)
            except LayercutError as error:
                if error.code != "file_not_found":
                    raise
                self._send_again([sent])
                raise LayercutError(
                    "upload_offset_mismatch",
                    f"{sent.name}: what was sent of it is lost: send it again",
                    details={"offset": 0},
                ) from None

        return read

    def _blocks(self, sent: SentFile) -> Iterable[bytes]:
        return self._read(sent)(0, sent.bytes)
