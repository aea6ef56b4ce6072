"""Forward passes timed before and after, in turns, so that a machine that slows down slows both."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from api_schemas.reports import Latency
from workers.data.made_up import made_up_inputs
from workers.runtime.parts import Done, unheard

WARM_UP_RUNS = 2
FEWEST_RUNS = 5
MOST_RUNS = 50
SECONDS_A_CELL = 2.0


def measure(
    models: Sequence[PreTrainedModel],
    cells: Sequence[tuple[int, int]],
    *,
    device: torch.device,
    done: Done = unheard,
) -> list[list[Latency]]:
    """For each model, its latency in each cell of (batch size, tokens). Models are of the same vocabulary."""
    found: list[list[Latency]] = [[] for _ in models]
    for batch_size, tokens in cells:
        inputs = _inputs(models[0], batch_size, tokens, device)
        times = _time_in_turns(models, inputs, device, done)
        for model_times, latencies in zip(times, found, strict=True):
            p50, p95 = np.quantile(model_times, [0.5, 0.95]) * 1000
            latencies.append(
                Latency(
                    batch_size=batch_size,
                    sequence_length=tokens,
                    p50_ms=float(p50),
                    p95_ms=float(p95),
                    runs=len(model_times),
                    examples_per_second=batch_size / float(p50) * 1000,
                )
            )
    return found


def speedup(before: Sequence[Latency], after: Sequence[Latency]) -> float | None:
    """Mean over the cells of p50 before / p50 after; None where nothing was measured."""
    ratios = [one.p50_ms / other.p50_ms for one, other in zip(before, after, strict=True)]
    return float(np.mean(ratios)) if ratios else None


def flops(model: PreTrainedModel, *, tokens: int, device: torch.device) -> int:
    """Floating-point operations of the matrix products for one example of ``tokens`` tokens."""
    # With gradients on: the counter's hooks fail on autograd functions, such as DeBERTa's, without.
    with FlopCounterMode(display=False) as counter:
        model(**_inputs(model, 1, tokens, device))
    return int(counter.get_total_flops())


def _inputs(model: PreTrainedModel, batch_size: int, tokens: int, device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in made_up_inputs(model.config, batch_size, tokens).items()}


def _time_in_turns(
    models: Sequence[nn.Module], inputs: dict[str, Tensor], device: torch.device, done: Done
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for model in models:
            for run in range(WARM_UP_RUNS):
                _run(model, inputs, device)
                done(run, WARM_UP_RUNS)
        began = time.perf_counter()
        while len(times[0]) < FEWEST_RUNS or (
            len(times[0]) < MOST_RUNS and time.perf_counter() - began < SECONDS_A_CELL * len(models)
        ):
            for model, model_times in zip(models, times, strict=True):
                model_times.append(_run(model, inputs, device))
            done(len(times[0]), MOST_RUNS)
    return times


def _run(model: nn.Module, inputs: dict[str, Tensor], device: torch.device) -> float:
    began = time.perf_counter()
    model(**inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
