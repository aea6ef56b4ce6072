"""Where a job runs and in which precision, as far as that can be told without a GPU."""

from __future__ import annotations

import pytest
import torch

from api_schemas.errors import LayercutError
from workers.runtime import device
from workers.runtime.device import choose_device, choose_precision, free_memory


@pytest.mark.parametrize(("kind", "precision"), [("cuda", "fp16"), ("cpu", "fp32")])
def test_without_bf16_a_gpu_takes_fp16_and_a_cpu_fp32(
    monkeypatch: pytest.MonkeyPatch, kind: str, precision: str
) -> None:
    monkeypatch.setattr(device, "_has_bf16", lambda _: False)
    assert choose_precision("auto", torch.device(kind)) == precision


def test_a_gpu_that_is_not_here_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(LayercutError, match="'GPU-1234', but torch sees no GPU"):
        choose_device("GPU-1234")


def test_an_instance_of_a_divided_gpu_that_is_not_here_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LayercutError, match="'MIG-1234', but torch sees no GPU"):
        choose_device("MIG-1234")


def test_what_a_cpu_may_take_is_not_known() -> None:
    assert free_memory(torch.device("cpu")) is None
