"""`layercut worker --devices A,B` with the fake runner: `launch_fleet.py A,B`. Settings come from the environment."""

import sys
from typing import Any

from cli import fleet
from cli.children import Child
from tests.support.supervisor_rig import FAKE_RUNNER
from tests.support.worker_process import LAUNCHER


class FakeWorker(Child):
    """What is kept running is `launch_worker.py`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._command = [sys.executable, str(LAUNCHER), *FAKE_RUNNER[1:]]


fleet.Child = FakeWorker  # type: ignore[misc]
sys.exit(fleet.work_on(sys.argv[1]))
