"""A job's published files on their way to the hub. A push that fails ends no job: its artifact is there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import NewEvent, SucceededData
from api_schemas.jobs import Stage
from api_schemas.push import Pushed, PushSpec
from sources.hub_push import push_folder
from store.jobs import Claim
from workers.settings import WorkerSettings
from workers.supervision.endings import Interrupted
from workers.supervision.lease_session import Interrupt
from workers.supervision.retries import Tell, persist, told
from workers.supervision.waiting import Waiting

log = logging.getLogger("layercut.push")

#: A hub that is away is asked for so long: until then the worker does nothing else.
AWAY_SECONDS = 600.0
#: Beyond the job's own time; and longer by its bytes.
PUSH_SECONDS, BYTES_PER_SECOND = 1800.0, 1_000_000


class HubPush:
    """``say`` tells the job's watchers; ``away`` hears, once, that the hub is."""

    def __init__(
        self, claim: Claim, settings: WorkerSettings, waiting: Waiting, *, say: Callable[[str], None], away: Tell
    ) -> None:
        self._claim, self._settings, self._waiting = claim, settings, waiting
        self._say, self._away = say, away

    def completed(self, ended: NewEvent, folder: Path) -> NewEvent:
        """``ended``, a success, with what became of the push of ``folder`` in its result: of the runner's word on that
        nothing is left. Raises ``Interrupted`` once nobody waits for it, its own time aside.
        """
        assert isinstance(ended.data, SucceededData)
        asked = self._claim.request.export.push_to
        pushed = None if asked is None else self._push(asked, folder)
        result = ended.data.result.model_copy(update={"pushed": pushed})
        return ended.model_copy(update={"data": ended.data.model_copy(update={"result": result})})

    def _push(self, asked: PushSpec, folder: Path) -> Pushed:
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        self._say(f"pushing {len(sizes)} files, {sum(sizes)} bytes, to {asked.repo}, branch {asked.revision}")
        self._waiting.extend(PUSH_SECONDS + sum(sizes) / BYTES_PER_SECOND)
        made: list[Pushed] = []
        try:
            self._waiting.beside(lambda stopped: made.append(self._keep_pushing(asked, folder, stopped)))
        except Interrupted as cut:
            if cut.why is not Interrupt.TIMEOUT:
                raise
            error = LayercutError("push_failed", "the job's time was over before all of it was sent")
        except Exception as raised:
            log.exception("job %s: cannot push", self._claim.lease.job_id)
            error = told(raised, "pushing")
        else:
            return made[0]
        return Pushed(repo=asked.repo, revision=asked.revision, error=JobError.of(error, Stage.PUBLISHING))

    def _keep_pushing(self, asked: PushSpec, folder: Path, stopped: Event) -> Pushed:
        job_id = self._claim.lease.job_id
        push = partial(push_folder, asked, folder, self._settings, job_id, stopped.is_set)
        return persist(push, stopped.wait, f"job {job_id}: its push", tell=self._away, seconds=AWAY_SECONDS)
