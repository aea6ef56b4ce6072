"""How many rows fit into memory at once: learnt by running out of it, and remembered for jobs of the same shape."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.errors import LayercutError
from workers.data.batches import RowIndexes
from workers.runtime.failures import code_of
from workers.training.optimizer import Stepper

#: Another process may have had the memory: what was learnt is not believed for ever.
REMEMBERED_SECONDS = 7 * 24 * 3600


class MicroBatches:
    """Rows that fit at once, by shape, in a small JSON file; without a file, nothing is remembered."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def recall(self, shape: str) -> int | None:
        found = self._read().get(shape)
        return int(found["rows"]) if found else None

    def learn(self, shape: str, rows: int) -> None:
        if self._file is None:
            return
        known = {**self._read(), shape: {"rows": rows, "at": time.time()}}
        new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with suppress(OSError):  # it is a help to the next job, and no need of this one
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(known, indent=1), encoding="utf-8")
            new.replace(self._file)

    def _read(self) -> dict[str, Any]:
        """Those that are young enough. A file that cannot be read is as good as none: it will be learnt again."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
            oldest = time.time() - REMEMBERED_SECONDS
            return {shape: row for shape, row in known.items() if row["at"] > oldest and row["rows"] >= 1}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


class Accumulator:
    """The gradients of whole batches, computed in parts of at most ``rows`` rows.

    ``loss_of(part)`` is a mean over the part's rows. Each part weighs as much as it has of the batch's rows, so the sum
    of the parts is the batch's mean, and the optimizer sees the batch that was asked for however it was cut.
    """

    def __init__(
        self, loss_of: Callable[[RowIndexes], Tensor], stepper: Stepper, rows: int, *, halved: Callable[[int], None]
    ) -> None:
        self._loss_of, self._stepper, self.rows = loss_of, stepper, rows
        self._halved = halved

    def __call__(self, batch: RowIndexes) -> Tensor:
        """The batch's loss, its gradients in place. Raises ``out_of_memory`` where a single row is too much."""
        while (loss := self._tried(batch)) is None:
            if self.rows == 1:
                raise LayercutError(
                    "out_of_memory",
                    "the device has too little memory to train on one row at a time: lower recovery.max_length",
                    param="/recovery/max_length",
                )
            self.rows = max(1, min(self.rows, len(batch)) // 2)
            self._halved(self.rows)
        return loss

    def _tried(self, batch: RowIndexes) -> Tensor | None:
        """None where memory ran out. Only here is the error let go: it holds the tensors that filled the memory."""
        try:
            return self._in_parts(batch)
        except (MemoryError, RuntimeError) as error:
            if code_of(error) != "out_of_memory":
                raise
        self._stepper.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _in_parts(self, batch: RowIndexes) -> Tensor:
        if len(batch) <= self.rows:
            return self._stepper.backward(self._loss_of(batch))
        parts = [batch[at : at + self.rows] for at in range(0, len(batch), self.rows)]
        losses = [self._stepper.backward(self._loss_of(part) * (len(part) / len(batch))) for part in parts]
        return torch.stack(losses).sum()
