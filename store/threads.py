"""Work in a thread of its own, for those who may not wait for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

Made = TypeVar("Made")


def start_beside(
    work: Callable[[], Made], name: str, unwanted: Callable[[Made], object] = lambda _: None
) -> Future[Made]:
    """Start ``work``. Whoever cancels the future, before it is done, has what was made given to ``unwanted``.

    The thread ends with the process: no pool of ``concurrent.futures`` does, where its work hangs.
    """
    made: Future[Made] = Future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            with suppress(InvalidStateError):
                made.set_exception(error)
            return
        try:
            made.set_result(result)
        except InvalidStateError:
            unwanted(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return made
