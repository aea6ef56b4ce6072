"""Objects that a job without a service names: fetched before it begins, into a folder that goes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.pinned import MODEL, PinnedSource
from api_schemas.requests import JobRequest
from api_schemas.source_names import is_object
from sources.fingerprint import FileHashes
from sources.objects.addresses import allowed
from sources.objects.buckets import Buckets
from sources.objects.pinned import pinned_objects
from sources.staging import Stager
from sources.stored_data import renamed, stored_data
from sources.stored_files import StoredFiles
from sources.stored_inputs import NO_STORE
from sources.stored_model import pinned_model
from sources.tables.data_file import allowed_file
from store.object_clients import open_store
from store.object_errors import fault_of
from workers.settings import WorkerSettings


class _Objects:
    """The ``StoredInputs`` of who has object stores, and no service."""

    def __init__(self, buckets: Buckets, settings: WorkerSettings) -> None:
        self._buckets, self._settings = buckets, settings

    def delivered(self, pinned: Delivered) -> StoredFiles:
        return NO_STORE.delivered(pinned)

    def source(self, pinned: PinnedSource) -> StoredFiles:
        return pinned_objects(self._buckets, pinned, self._settings)


@contextmanager
def with_objects(request: JobRequest, settings: WorkerSettings) -> Iterator[tuple[JobRequest, WorkerSettings]]:
    """``request`` and ``settings`` of a job all of whose inputs are at hand; as they are where it names no object, or
    was handed its inputs. Raises ``LayercutError``: as ``Buckets``, and for what only a service has.
    """
    if settings.inputs is not None or request.model.job_id is not None:
        yield request, settings
        return
    buckets = Buckets(partial(open_store, seconds=None), fault_of)
    sources = list(_sources(request, buckets, settings))
    if not sources:
        yield request, settings
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="inputs-", dir=settings.data_dir) as folder:
        stored = _Objects(buckets, settings)
        stager = Stager(settings, FileHashes(settings.data_dir / "hashes"), Path(folder), sys.maxsize, stored=stored)
        request = renamed(request, sources)
        staged = stager.stage(request, None, sources)
        yield request, settings.model_copy(update={"inputs": staged.inputs})


def _sources(request: JobRequest, buckets: Buckets, settings: WorkerSettings) -> Iterator[PinnedSource]:
    if is_object(request.model.id):
        if request.model.revision is not None:
            text = "a revision is for hub models; what is stored has none"
            raise LayercutError("validation_failed", text, param="/model/revision")
        address = allowed(request.model.id, settings.model_urls, what="model", param=MODEL)
        found = buckets.model(address, MODEL)
        yield pinned_model(found, modules=request.keeps_modules, most=settings.max_model_bytes).pinned

    def find(name: str, param: str) -> StoredFiles:
        if not is_object(name):
            allowed_file(name, settings, param)  # refuses it
        return buckets.data(allowed(name, settings.data_urls, what="dataset", param=param), param)

    for data in stored_data(request, find, settings):
        yield data.pinned({})
