"""Speed and work, for every architecture."""

from __future__ import annotations

import pytest
import torch

from api_schemas.architectures import ARCHITECTURES
from tests.support.tiny_models import build
from workers.evaluation import latency

CPU = torch.device("cpu")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_half_the_layers_are_about_half_the_work(architecture: str) -> None:
    whole, half = build(architecture, layers=6), build(architecture, layers=3)
    count = [latency.flops(model, tokens=16, device=CPU) for model in (whole, half)]
    assert 1.5 < count[0] / count[1] <= 2


def test_every_cell_is_measured_for_every_model() -> None:
    models = [build("bert", layers=layers) for layers in (2, 1)]
    cells = [(1, 8), (4, 16)]
    found = latency.measure(models, cells, device=CPU)
    for rows in found:
        assert [(row.batch_size, row.sequence_length) for row in rows] == cells
        assert all(0 < row.p50_ms <= row.p95_ms and row.runs >= latency.FEWEST_RUNS for row in rows)
    assert latency.speedup(*found) is not None
    assert latency.speedup([], []) is None
