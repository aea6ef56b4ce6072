"""Multiplies matrices of a transformer's sizes for some tenths of a second, and prints float32 FLOP/s. Run by its path.

One core is measured, and counted as often as a runner has threads. Turns are a millisecond, shorter than the time that
a busy host gives to a process at once, and the best of them counts: what else it does now is no property of it.
"""

import os
import time

import numpy as np

#: Tokens at a time, the width of their states, and of what they become.
TOKENS, WIDTH, INNER = 128, 512, 512
SECONDS = 0.3


def threads() -> int:
    """As many as torch takes."""
    asked = os.environ.get("LAYERCUT_PROBED_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def main() -> None:
    states, weights = np.ones((TOKENS, WIDTH), np.float32), np.ones((WIDTH, INNER), np.float32)
    out = states @ weights
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        turn = time.perf_counter()
        np.matmul(states, weights, out=out)
        best = min(best, time.perf_counter() - turn)
    print(threads() * 2 * TOKENS * WIDTH * INNER / best)


if __name__ == "__main__":
    main()
