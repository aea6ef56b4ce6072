"""`layercut worker --devices`: a worker for each GPU, whose runner sees that GPU alone. `nvidia-smi` is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.processes import eventually, gone
from tests.support.serve_process import LAYERCUT, environment

GPUS = ["GPU-11111111-aaaa-bbbb-cccc-000000000001", "GPU-22222222-aaaa-bbbb-cccc-000000000002"]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for the head of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def nvidia_smi(tools: Path, script: str) -> None:
    program = tools / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def start(tools: Path, devices: str, **more: object) -> subprocess.Popen[str]:
    settings = environment(data_dir=tools.parent / "data", **more)
    return subprocess.Popen(
        [*LAYERCUT, "worker", "--devices", devices],
        env={**settings, "PATH": f"{tools}{os.pathsep}{settings['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def runners(fleet: psutil.Process, count: int) -> list[psutil.Process]:
    """The runners of the fleet's workers, once there are as many."""

    def found() -> list[psutil.Process]:
        try:
            children = [child for worker in fleet.children() for child in worker.children()]
            begun = [child for child in children if "workers.runner" in child.cmdline()]
        except psutil.NoSuchProcess:  # a worker first tries in short-lived processes what locks a runner in
            return []
        return begun if len(begun) == count else []

    return eventually(found, seconds=120)


@pytest.mark.slow
def test_auto_is_a_worker_for_every_gpu_and_its_runner_sees_no_other(tools: Path) -> None:
    nvidia_smi(tools, f'[ "$*" = "--query-gpu=uuid --format=csv,noheader" ] && printf "{GPUS[0]}\\n{GPUS[1]}\\n"')
    process = start(tools, "auto")
    fleet = psutil.Process(process.pid)
    everyone = [fleet]
    try:
        begun = runners(fleet, 2)
        everyone = [fleet, *fleet.children(recursive=True)]
        assert sorted(worker.environ()["LAYERCUT_DEVICE"] for worker in fleet.children()) == GPUS
        assert sorted(runner.environ()["CUDA_VISIBLE_DEVICES"] for runner in begun) == GPUS
        for runner in begun:
            assert runner.environ()["LAYERCUT_DEVICE"] == runner.environ()["CUDA_VISIBLE_DEVICES"]

        fleet.terminate()
        assert process.wait(60) == 0
        # A runner that is still importing finds out when it is done with that.
        eventually(lambda: all(gone(one.pid) for one in everyone), seconds=120)
    finally:
        for one in everyone:
            if not gone(one.pid):
                one.kill()
        process.communicate()


@pytest.mark.slow
def test_a_fleet_ends_when_all_its_workers_have_left(tools: Path) -> None:
    process = start(tools, ",".join(GPUS), poll_seconds=0.1, idle_exit_seconds=0.2)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "started again" not in out


@pytest.mark.parametrize(
    ("script", "said"), [("exit 9", "cannot ask nvidia-smi"), ("true", "there is no GPU to work on")]
)
def test_without_gpus_it_says_so(tools: Path, script: str, said: str) -> None:
    nvidia_smi(tools, script)
    process = start(tools, "auto")
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert said in out
