"""Where a benchmark is, and on which machine, on stderr: none is silent, and no figure lacks its machine."""

from __future__ import annotations

import sys
import time

_BEGAN = time.perf_counter()


def at(what: str) -> None:
    """Say what begins now, and after how many seconds of the whole."""
    print(f"[{time.perf_counter() - _BEGAN:6.1f} s] {what}", file=sys.stderr, flush=True)


def machine() -> None:
    """Say which device all figures are of, and the best precision that it computes in."""
    from workers.runtime.device import choose_device, choose_precision, describe  # noqa: PLC0415 - torch is not for all of them

    device = choose_device("auto")
    told = ", ".join(f"{name} {value}" for name, value in describe(device) if value is not None)
    at(f"{told}, precision {choose_precision('auto', device)}")
