"""What a request names of earlier jobs, uploads and object stores: found for one tenant, pinned, fetched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.pinned import MODEL, PinnedSource
from api_schemas.requests import JobRequest, ModelRef, PlanRequest
from api_schemas.source_names import is_upload
from service.earlier_jobs import EarlierJobs, blamed
from service.settings import GatewaySettings
from sources.fetched import Fetched, FetchedFiles
from sources.objects.addresses import allowed
from sources.objects.buckets import Buckets
from sources.paths import What
from sources.stored_data import NamedData, renamed, stored_data
from sources.stored_files import StoredFiles
from sources.stored_model import StoredModel, pinned_model

Request = TypeVar("Request", JobRequest, PlanRequest)


class Uploads(Protocol):
    """Those of one tenant. Raises ``upload_not_found``, ``upload_not_ready``, ``expired``."""

    def model(self, name: str, param: str) -> StoredFiles: ...

    def data(self, name: str, param: str) -> StoredFiles: ...


@dataclass
class NamedSources:
    """Of one request of one tenant. Use as a context manager: what was fetched stays while it is open, and ``settings``
    say where it is. ``sources`` is what was pinned of uploads and object stores, and ``stored`` the model, if it is
    there; ``warnings`` are of what was not looked at in full.
    """

    settings: GatewaySettings
    earlier: EarlierJobs
    uploads: Uploads
    buckets: Buckets
    files: FetchedFiles
    sources: list[PinnedSource] = field(default_factory=list)
    stored: StoredModel | None = None
    warnings: list[str] = field(default_factory=list)
    _held: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def fetch(self, request: Request) -> Request:
        """``request`` with its data by the names that ``settings`` know from now on.

        Raises ``LayercutError``: as ``Uploads`` and ``Buckets`` do, ``dataset_not_allowed``, ``dataset_invalid``,
        ``too_busy``.
        """
        here: dict[str, Fetched] = {}
        for data in stored_data(request, self._data, self.settings):
            with blamed(data.param):
                here |= {name: self._fetched(data, name) for name in data.files}
            self.sources.append(data.pinned(here))
        self.settings = self.settings.model_copy(update={"fetched": here})
        return renamed(request, self.sources)

    def model(self, ref: ModelRef, *, modules: bool) -> ModelFacts:
        """The facts of ``ref``, an upload or an address; its files are pinned. Raises as ``fetch`` does of data."""
        with blamed(MODEL):
            if ref.revision is not None:
                raise LayercutError("validation_failed", "a revision is for hub models; what is stored has none")
            find = self.uploads.model if is_upload(ref.id) else self._object("model", self.buckets.model)
            most = self.settings.max_model_bytes
            self.stored = pinned_model(find(ref.id, MODEL), modules=modules, most=most)
        self.sources.append(self.stored.pinned)
        return self.stored.facts

    def _data(self, name: str, param: str) -> StoredFiles:
        find = self.uploads.data if is_upload(name) else self._object("dataset", self.buckets.data)
        with blamed(param):
            return find(name, param)

    def _object(self, what: What, look: Callable[..., StoredFiles]) -> Callable[[str, str], StoredFiles]:
        prefixes = self.settings.model_urls if what == "model" else self.settings.data_urls
        return lambda name, param: look(allowed(name, prefixes, what=what, param=param), param)

    def _fetched(self, data: NamedData, name: str) -> Fetched:
        found = self._held.enter_context(self.files.held(data.wanted(name, self.settings.look_bytes)))
        if not found.is_whole:
            self.warnings.append(
                f"{name} has {found.bytes} bytes, more than the {self.settings.look_bytes} of LAYERCUT_LOOK_BYTES: only"
                " its columns were looked for, and the job's worker looks at its rows"
            )
        return found
