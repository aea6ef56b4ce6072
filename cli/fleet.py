"""`layercut worker --devices`: one worker for each GPU of this machine."""

from __future__ import annotations

import subprocess

import typer

from cli.children import Child, keep_running
from workers.settings import WorkerSettings

AUTO = "auto"
SEEN_BY_DRIVER = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]


def work_on(devices: str) -> int:
    """Keep a worker running on each device until SIGINT or SIGTERM, or until all have found nothing to do for
    ``LAYERCUT_IDLE_EXIT_SECONDS``; the exit code.

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
    ports = _ports(len(uuids))
    may_leave = WorkerSettings().idle_exit_seconds > 0
    workers = [
        Child("worker", say=_say, may_leave=may_leave, LAYERCUT_DEVICE=uuid, LAYERCUT_WORKER_PORT=str(port))
        for uuid, port in zip(uuids, ports, strict=True)
    ]
    keep_running(
        workers,
        lambda: _say(f"a worker on each of {', '.join(uuids)}"),
        lambda: _say("stopping; running jobs go back to the queue"),
    )
    return 0


def every_gpu() -> list[str]:
    listed = subprocess.run(SEEN_BY_DRIVER, check=True, capture_output=True, text=True, timeout=60).stdout
    return [line.strip() for line in listed.splitlines() if line.strip()]


def _ports(count: int) -> list[int]:
    """Where each answers: they cannot share a port. 0 is nowhere."""
    first = WorkerSettings().worker_port
    return [first and first + number for number in range(count)]


def _say(text: str) -> None:
    typer.echo(f"layercut: {text}")
