"""Data and models on their way to the service: announced, sent by part, completed; and gone on with after a break."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from api_schemas.uploads import Dataset, Model, UploadStatus
from layercut.client.answers import JSON, body_of, path_of
from layercut.client.calls import Calls
from layercut.client.errors import ClientError, LayercutApiError
from layercut.client.parts import Outgoing, files_of, model_of
from layercut.client.retries import Patience, ask
from layercut.client.steps import Flow, Request, work

OnProgress = Callable[[str, int, int], None]
Shown = TypeVar("Shown", Dataset, Model)

#: A file of a model that the service does not read, by the place where it was announced.
_NOT_READ = re.compile(r"/files/(\d{1,6})/name")
OCTETS = "application/octet-stream"
UNKNOWN = "model_invalid"
ELSEWHERE = "upload_offset_mismatch"
GONE = frozenset({"upload_not_found", "expired"})
COMPLETE_SECONDS = 1800.0


class Uploading:
    def __init__(self, calls: Calls, patience: Patience) -> None:
        self._calls, self._patience = calls, patience

    def dataset(
        self,
        paths: Sequence[str | Path],
        *,
        name: str | None,
        resume: str | None,
        key: str | None,
        on_progress: OnProgress | None,
    ) -> Flow[Dataset]:
        collect = partial(files_of, [Path(path) for path in paths])
        return (yield from self._upload(Dataset, collect, name=name, resume=resume, key=key, on_progress=on_progress))

    def model(
        self,
        folder: str | Path,
        *,
        name: str | None,
        resume: str | None,
        key: str | None,
        on_progress: OnProgress | None,
    ) -> Flow[Model]:
        collect = partial(model_of, Path(folder))
        return (yield from self._upload(Model, collect, name=name, resume=resume, key=key, on_progress=on_progress))

    def _upload(
        self,
        kind: type[Shown],
        collect: Callable[[], list[Outgoing]],
        *,
        name: str | None,
        resume: str | None,
        key: str | None,
        on_progress: OnProgress | None,
    ) -> Flow[Shown]:
        """``collect`` finds and hashes the files. ``resume``: the id of an upload that was begun of the same files.
        ``key``: what was sent with it already is found again, and goes on.
        """
        files = yield from work(collect)
        resource = f"{kind.__name__.lower()}s"
        if resume is None:
            upload, files = yield from self._announce(kind, resource, files, name, key)
            if key is not None and (yield from self._is_gone(resource, upload.id)):
                upload, files = yield from self._announce(kind, resource, files, name, f"{key} after {upload.id}")
        else:
            upload = yield from self._calls.show(kind, Request("GET", path_of(resource, resume)))
            files = _begun(upload, files)
        if upload.status is UploadStatus.UPLOADING:
            for file in files:
                yield from self._send(path_of(resource, upload.id, "files", *file.name.split("/")), file, on_progress)
        request = Request("POST", path_of(resource, upload.id, "complete"), content=b"", silence=COMPLETE_SECONDS)
        return (yield from self._calls.show(kind, request))

    def _announce(
        self, kind: type[Shown], resource: str, files: list[Outgoing], name: str | None, key: str | None
    ) -> Flow[tuple[Shown, list[Outgoing]]]:
        """The upload, and the files that it takes: which a model is read from, the service knows best."""
        while True:
            body = body_of({"files": [file.announced for file in files], "name": name}, {})
            # One key may come with several uploads, each of other files: those of one are what it announces.
            own = secrets.token_hex(16) if key is None else hashlib.sha256(key.encode() + b"\0" + body).hexdigest()
            headers = {"Idempotency-Key": own, "Content-Type": JSON}
            try:
                request = Request("POST", path_of(resource), headers, content=body)
                return (yield from self._calls.show(kind, request)), files
            except LayercutApiError as error:
                refused = _refused(error) if kind is Model else None
                if refused is None or refused >= len(files) or len(files) == 1:
                    raise
                files = [file for at, file in enumerate(files) if at != refused]

    def _send(self, path: str, file: Outgoing, on_progress: OnProgress | None) -> Flow[None]:
        at = yield from self._there(path)
        while at < file.size:
            part = yield from work(partial(file.part, at))
            span = f"bytes {at}-{at + len(part) - 1}/{file.size}"
            request = Request("PUT", path, {"Content-Type": OCTETS, "Content-Range": span}, content=part)
            try:
                yield from ask(request, self._patience)
                at += len(part)
            except LayercutApiError as error:
                # The part came whole, and its answer did not; or only a piece of it came.
                if error.code != ELSEWHERE or error.offset is None or error.offset == at:
                    raise
                at = error.offset
            if on_progress is not None:
                on_progress(file.name, at, file.size)

    def _is_gone(self, resource: str, upload_id: str) -> Flow[bool]:
        """Whether it has been deleted, or has expired, since the service answered so: it remembers the answer."""
        try:
            yield from ask(Request("GET", path_of(resource, upload_id)), self._patience)
        except LayercutApiError as error:
            if error.code not in GONE:
                raise
            return True
        return False

    def _there(self, path: str) -> Flow[int]:
        answer = yield from ask(Request("HEAD", path), self._patience)
        offset = answer.headers.get("upload-offset", "")
        return int(offset) if offset.isdecimal() and len(offset) < 20 else 0


def _refused(error: LayercutApiError) -> int | None:
    places = [_NOT_READ.fullmatch(fault.pointer) for fault in error.errors]
    found = places[0] if places and error.code == UNKNOWN else None
    return None if found is None else int(found[1])


def _begun(upload: Dataset | Model, files: Sequence[Outgoing]) -> list[Outgoing]:
    """The files that the upload was begun of. Raises ``ClientError`` where they are others here."""
    here = {file.name: file for file in files}
    for begun in upload.files:
        found = here.get(begun.name)
        if found is None or found.size != begun.bytes or begun.sha256 not in (None, found.sha256):
            raise ClientError(f"{upload.id} was begun of another {begun.name!r} than the one that is here")
    return [here[begun.name] for begun in upload.files]
