"""`layercut paper` as it is typed, against a real gateway; the test is the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.gateway_process import free_port

Layercut = Callable[..., Any]


def test_options_that_do_not_go_together(layercut: Layercut) -> None:
    assert "its own grid" in layercut("paper", "--study", "study_1", "--rows", "10", code=2).told
    assert "one of --markdown and --json" in layercut("paper", "--markdown", "--json", code=2).told


def test_without_a_service_it_says_how_to_start_one(layercut: Layercut) -> None:
    told = layercut("paper", "--url", f"http://127.0.0.1:{free_port()}", code=4).told
    assert "layercut serve starts a service here" in told
