"""`layercut worker`, with another runner where one is named: `launch_worker.py [RUNNER_SCRIPT]`.

Settings come from the environment.
"""

import logging
import os
import sys

from tests.support.supervisor_rig import no_inputs
from workers import celery_app

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(process)d %(name)s %(message)s")
if len(sys.argv) > 1:
    os.environ.setdefault("LAYERCUT_SANDBOX", "off")  # the fake runner touches files wherever a test says
    celery_app.RUNNER = [sys.executable, sys.argv[1]]
    celery_app.stage_inputs = lambda _: no_inputs
sys.exit(celery_app.run_worker())
