"""What a runner is told of its worker's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from sources.settings import SourceSettings
from workers.supervision.runner_environment import runner_environment


def test_what_an_operator_raised_is_raised_for_the_runner_too(tmp_path: Path) -> None:
    """Else a job is accepted by one ceiling and fails by another, hours later."""
    ceilings = [name for name, field in SourceSettings.model_fields.items() if field.annotation is int]
    environ = {f"LAYERCUT_{name.upper()}": "12345" for name in ceilings}
    told = runner_environment(environ, tmp_path)
    assert ceilings
    assert {name: told.get(name) for name in environ} == environ


@pytest.mark.parametrize("uuid", ["GPU-5c89852c", "MIG-b0a3d5ec"])
def test_a_runner_sees_the_device_of_its_worker_alone(uuid: str, tmp_path: Path) -> None:
    assert runner_environment({"LAYERCUT_DEVICE": uuid}, tmp_path)["CUDA_VISIBLE_DEVICES"] == uuid


def test_no_secret_is_told(tmp_path: Path) -> None:
    secrets = {"LAYERCUT_DATABASE_URL": "postgresql://u:p@db/l", "HF_TOKEN": "hf_x", "AWS_SECRET_ACCESS_KEY": "s"}
    assert not secrets.keys() & runner_environment(secrets, tmp_path).keys()
