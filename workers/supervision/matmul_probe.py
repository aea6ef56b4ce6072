"""Multiplies matrices of a transformer's sizes for some tenths of a second, and prints float32 FLOP/s. Run by its path.

The best of several turns: what else the host does at that moment is no property of it.
"""

import time

import numpy as np

#: Tokens of a batch, the width of its states, and of what they become within a layer.
TOKENS, WIDTH, INNER = 512, 512, 2048
SECONDS = 0.2


def main() -> None:
    states, weights = np.ones((TOKENS, WIDTH), np.float32), np.ones((WIDTH, INNER), np.float32)
    out = states @ weights
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        turn = time.perf_counter()
        np.matmul(states, weights, out=out)
        best = min(best, time.perf_counter() - turn)
    print(2 * TOKENS * WIDTH * INNER / best)


if __name__ == "__main__":
    main()
