"""What a job's report is to warn of beside what its runner knows: answered when the runner makes it."""

from __future__ import annotations

from collections.abc import Callable

from api_schemas.errors import LayercutError
from api_schemas.events import NewEvent, failure
from workers.protocol import WarningsAnswer
from workers.supervision.runner_process import RunnerProcess


class ReportWarnings:
    """Of one attempt; ``warnings`` are those by now."""

    def __init__(self, runner: RunnerProcess, warnings: Callable[[], list[str]]) -> None:
        self._runner, self._warnings, self._asked = runner, warnings, False

    def answer(self) -> NewEvent | None:
        """The failure of the job, where it asks again: no sound runner makes two reports."""
        if self._asked:
            return failure(LayercutError("protocol_violation", "the runner asked twice what its report warns of"))
        self._asked = True
        self._runner.answer(WarningsAnswer(warnings=self._warnings()))
        return None
