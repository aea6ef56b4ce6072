"""The files of one attempt on their way into the artifact store, sent until it takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

from api_schemas.errors import LayercutError
from api_schemas.events import ArtifactFiles
from sources.staging import Staged
from store.artifacts import ArtifactStore
from store.jobs import Claim
from workers.export.archive import archive_name
from workers.settings import WorkerSettings
from workers.supervision.publishing import COPIES, most_bytes, publish_export
from workers.supervision.retries import Tell, persist
from workers.supervision.runner_process import RunnerProcess

#: What it takes to publish the files of a job that ended in time, where less of its own time is left.
PUBLISHING_SECONDS = 1800.0

#: Takes the folder of a job's published files.
Learn = Callable[[Path], object]


def unlearnt(_: Path) -> None:
    """Of a worker that learns nothing."""


class Publication:
    """``tell`` hears, once, that the store is away; ``learn`` gets the folder of the files that were published."""

    def __init__(
        self,
        claim: Claim,
        runner: RunnerProcess,
        artifacts: ArtifactStore,
        settings: WorkerSettings,
        *,
        tell: Tell,
        learn: Learn = unlearnt,
    ) -> None:
        self._claim, self._runner, self._artifacts, self._settings = claim, runner, artifacts, settings
        self._tell, self._learn = tell, learn
        #: Of the files that were published, and how many bytes they have.
        self.folder = runner.scratch.folder / COPIES
        self.bytes = 0
        #: Why what was finished is not published yet, where the store is away.
        self.away: LayercutError | None = None

    def work(self, files: ArtifactFiles | None, staged: Staged | None, seconds: float) -> Callable[[Event], None]:
        """What sends the ``files`` of a job made of ``staged``, until it is told to stop: what is finished is not made
        again because the store was away, for so many seconds at most.

        Raises ``export_failed`` for names that are none, and what ``check_unchanged`` raises: also of a job that missed
        its objective, the files must be made of what it was given.
        """
        if files is None:
            raise LayercutError("export_failed", "the runner says that it succeeded, and names no files")
        if staged is not None:
            staged.check_unchanged()
        if files.folder in ("", ".", "..") or "/" in files.folder:
            raise LayercutError("export_failed", f"the runner named {files.folder!r}, which lies outside of its folder")
        return partial(self._keep_uploading, files.folder, staged, seconds)

    def _keep_uploading(self, folder: str, staged: Staged | None, seconds: float, stopped: Event) -> None:
        def away(error: LayercutError) -> None:
            self.away = error
            self._tell(error)

        what = f"job {self._claim.lease.job_id}: its files"
        upload = partial(self._upload, folder, staged, stopped.is_set)
        persist(upload, stopped.wait, what, tell=away, seconds=seconds)
        self.away = None

    def _upload(self, folder: str, staged: Staged | None, stopped: Callable[[], bool]) -> None:
        lease = self._claim.lease
        inputs = staged.copied + staged.handed if staged else 0
        manifest = publish_export(
            self._runner.scratch.folder, (self._runner.out.name, folder), self._artifacts, lease.prefix,
            archive_name(lease.job_id, self._claim.request.suffix),
            limit=most_bytes(inputs, self._settings.artifact_bytes), stopped=stopped,
            has_model=not self._claim.request.evaluates_only,
        )  # fmt: skip
        self.bytes = sum(file.bytes for file in manifest.files)
        self._learn(self.folder)
