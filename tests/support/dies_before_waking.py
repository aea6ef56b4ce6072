"""`layercut`, whose gateway is killed where it would wake a worker: `dies_before_waking.py gateway --port N`.

Its jobs are committed by then, and nobody was told of them.
"""

import os
import signal
from typing import NoReturn

from cli.main import app
from service.wakeups import WakeUps


def die(wakeups: WakeUps, count: int = 1) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError((wakeups, count))


WakeUps.wake = die  # type: ignore[method-assign]
app()
