"""`layercut worker --devices`: one worker for each GPU of this machine."""

from __future__ import annotations

import re
import subprocess

import typer

from cli.children import Child, keep_running
from workers.settings import WorkerSettings
from workers.supervision.idle_lock import DESCRIPTOR, FleetLock

AUTO = "auto"
#: Not --query-gpu, which knows no instances of MIG.
SEEN_BY_DRIVER = ["nvidia-smi", "-L"]
UUID = re.compile(r"\(UUID: ((GPU|MIG)-[^)\s]+)\)")


def work_on(devices: str) -> int:
    """Keep a worker running on each device until SIGINT or SIGTERM, or until all have found nothing to do for
    ``LAYERCUT_IDLE_EXIT_SECONDS`` at one time; the exit code. One that is idle stays while another has a job: what
    looks after the pod takes a worker that is not there for a broken pod.

    ``devices`` is a list of UUIDs with commas, or ``auto`` for all that `nvidia-smi` lists. By UUID, since the number
    of a GPU depends on who counts.
    """
    try:
        uuids = every_gpu() if devices == AUTO else [name.strip() for name in devices.split(",") if name.strip()]
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"cannot ask nvidia-smi which GPUs there are ({error}): name them with --devices GPU-…,GPU-…")
        return 1
    if not uuids:
        _say("there is no GPU to work on; layercut worker without --devices takes the CPU")
        return 1
    settings = WorkerSettings()
    ports = _ports(settings.worker_port, len(uuids))
    lock = FleetLock() if settings.idle_exit_seconds > 0 else None
    keep_running(
        [_worker(uuid, port, lock) for uuid, port in zip(uuids, ports, strict=True)],
        lambda: _say(f"a worker on each of {', '.join(uuids)}"),
        lambda: _say("stopping; running jobs go back to the queue"),
        leave_seconds=settings.leave_seconds,
        done=lambda: lock is not None and _all_idle(lock),
    )
    if lock is not None:
        lock.close()
    return 0


def _worker(uuid: str, port: int, lock: FleetLock | None) -> Child:
    settings = {"LAYERCUT_DEVICE": uuid, "LAYERCUT_WORKER_PORT": str(port)}
    if lock is None:
        return Child("worker", say=_say, settings=settings)
    held = lock.lend()
    return Child("worker", say=_say, settings={**settings, DESCRIPTOR: str(held)}, descriptors=[held])


def _all_idle(lock: FleetLock) -> bool:
    idle = lock.all_idle()
    if idle:
        _say("no worker has a job: all leave")
    return idle


def every_gpu() -> list[str]:
    """Of a GPU that is divided by MIG its instances, and not the GPU, which no program can compute on then."""
    listed = subprocess.run(SEEN_BY_DRIVER, check=True, capture_output=True, text=True, timeout=60).stdout
    found: list[str] = []
    for match in UUID.finditer(listed):
        uuid, kind = match.groups()
        if kind == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()  # the line of the GPU that has it
        found.append(uuid)
    return found


def _ports(first: int, count: int) -> list[int]:
    """Where each answers: they cannot share a port. 0 is nowhere."""
    return [first and first + number for number in range(count)]


def _say(text: str) -> None:
    typer.echo(f"layercut: {text}")
