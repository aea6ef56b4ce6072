"""`layercut worker`, with another runner where one is named: `launch_worker.py [RUNNER_SCRIPT]`.

Settings come from the environment.
"""

import os
import sys

from telemetry.logs import configure_logs
from tests.support.supervisor_rig import no_inputs
from workers import celery_app

configure_logs()
if len(sys.argv) > 1:
    os.environ.setdefault("LAYERCUT_SANDBOX", "off")  # the fake runner touches files wherever a test says
    celery_app.RUNNER = [sys.executable, sys.argv[1]]
    celery_app.stage_inputs = lambda *_, **__: no_inputs
sys.exit(celery_app.run_worker())
