"""Formats that a job asks for, and the workers that are there to write them."""

from __future__ import annotations

from collections.abc import Sequence

from api_schemas.errors import LayercutError
from api_schemas.formats import PARAM, further
from api_schemas.workers import WorkerInfo


def check_writable(names: Sequence[str], workers: Sequence[WorkerInfo]) -> None:
    """Raise ``format_unavailable`` where there are workers, and none of them writes all that ``names`` ask for.

    One that does not tell what it writes, as of an older layercut, may; and where there is no worker yet, one may come.
    """
    wanted = further(names)
    told = [worker.about.formats if worker.about else None for worker in workers]
    # A job is done by one worker: that each of its formats is written by some other one is of no use to it.
    lacks = [[row for row in wanted if each is not None and row.name not in each] for each in told]
    if lacks and all(lacks):
        row = min(lacks, key=len)[0]
        raise LayercutError(
            "format_unavailable",
            f"no worker that is there writes {row.name}: one needs layercut[{row.extra}]. Leave the format out, or ask"
            " again when such a worker runs",
            param=PARAM,
        )
