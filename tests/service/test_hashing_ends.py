"""Weights of a terabyte are hashed no longer than their caller waits: the thread for looks into models comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.sparse_files import write_huge_weights
from tests.support.tiny_checkpoints import WIDTH


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"admission_threads": 1, "admission_seconds": 3.0})


def test_the_only_thread_comes_back(live: tuple[str, GatewayState], make_model: Callable[..., Path]) -> None:
    huge, tiny = make_model("huge", layers=3, hidden_size=WIDTH, vocab_size=11), make_model("tiny")
    write_huge_weights(huge / "model.safetensors")
    asked = {"task": "none", "prune": {"strategy": "parameter_variance", "drop": 1}}
    with httpx.Client(base_url=live[0], trust_env=False) as client:
        answer = client.post("/v1/plans", json={"model": str(huge), **asked})
        assert (answer.status_code, answer.json()["code"]) == (503, "too_busy")
        answer = client.post("/v1/plans", json={"model": str(tiny), **asked})
        assert answer.status_code == 200, answer.text
