"""`layercut worker --devices`: a worker for each GPU, whose runner sees that GPU alone. `nvidia-smi` is a script."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from api_schemas.jobs import Status
from cli.fleet import every_gpu
from tests.support.processes import eventually, gone
from tests.support.serve_process import LAYERCUT, environment
from tests.support.worker_process import site
from workers.settings import WorkerSettings

LAUNCHER = Path(__file__).parents[1] / "support" / "launch_fleet.py"

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


def listing(*lines: str) -> str:
    """What `nvidia-smi -L` prints; it is asked for more than that, too."""
    return "\n".join(['[ "$*" = -L ] || exit 6', "cat <<'END'", *lines, "END"])


DIVIDED = [
    "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)",
    "  MIG 3g.20gb     Device  0: (UUID: MIG-b0a3d5ec-6d4f-5b2e-9a5c-000000000001)",
    "  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/2/0)",
    "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc40)",
]


def test_of_a_gpu_that_is_divided_its_instances_are_taken(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older driver names an instance by its GPU and its place."""
    nvidia_smi(tools, listing(*DIVIDED))
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    assert every_gpu() == [
        "MIG-b0a3d5ec-6d4f-5b2e-9a5c-000000000001",
        "MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/2/0",
        "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc40",
    ]


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
    nvidia_smi(tools, listing(*(f"GPU {at}: NVIDIA H200 (UUID: {uuid})" for at, uuid in enumerate(GPUS))))
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
@pytest.mark.parametrize("count", [1, 2])
def test_a_fleet_ends_when_all_its_workers_have_had_nothing_to_do(count: int, tools: Path) -> None:
    process = start(tools, ",".join(GPUS[:count]), poll_seconds=0.1, idle_exit_seconds=2)
    runners(psutil.Process(process.pid), count)  # all of them begin
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "all leave" in out
    assert "started again" not in out


@pytest.mark.slow
def test_a_worker_without_a_job_stays_while_another_has_one_and_then_all_leave(tmp_path: Path) -> None:
    """A pod whose worker does not answer is killed, with the job of the one beside it."""
    with site(tmp_path, poll_seconds=0.1, idle_exit_seconds=0.3) as here:
        job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed", wake=False)
        process = subprocess.Popen(
            [sys.executable, LAUNCHER, ",".join(GPUS)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **here.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        fleet = psutil.Process(process.pid)
        everyone = [fleet]
        try:
            here.running(job_id, tmp_path / "here")
            workers = fleet.children()
            everyone += fleet.children(recursive=True)
            left, _ = psutil.wait_procs(workers, timeout=4)
            assert left == []
            assert len(workers) == 2
            (tmp_path / "go").touch()
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            assert "all leave" in out
            assert "started again" not in out
            job = here.store.get(job_id)
            assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
        finally:
            for one in everyone:
                if not gone(one.pid):
                    one.kill()
            process.communicate()


# In one write each: lines of several processes that share a pipe mix, else.
STUBBORN = """
import os, sys
from cli.children import Child, keep_running

HERE = "os.write(1, b'here' + bytes([10]))"
STAYS = f"import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HERE}; signal.pause()"
children = [Child(name, say=print) for name in ("first", "second")]
for child in children:
    child._command = [sys.executable, "-c", STAYS]
keep_running(children, lambda: exec(HERE), lambda: None, leave_seconds=3)
"""


def test_all_workers_of_a_fleet_have_the_same_time_to_leave() -> None:
    """What gives the parent that time to leave kills it after that."""
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["here\n"] * 3
        children = psutil.Process(process.pid).children()
        process.terminate()
        told = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - told < 5.5, "not one after the other"
    assert len(children) == 2
    assert all(gone(child.pid) for child in children)


def test_a_worker_is_left_as_long_as_its_last_checkpoint_its_cache_and_its_upload_take() -> None:
    settings = WorkerSettings(kill_grace_seconds=120)
    assert settings.leave_seconds > 3 * settings.kill_grace_seconds


@pytest.mark.parametrize(
    ("script", "said"), [("exit 9", "cannot ask nvidia-smi"), ("true", "there is no GPU to work on")]
)
def test_without_gpus_it_says_so(tools: Path, script: str, said: str) -> None:
    nvidia_smi(tools, script)
    process = start(tools, "auto")
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert said in out
