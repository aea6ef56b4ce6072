"""What a worker says of itself: its host, its version, its device. Without torch: the driver's own program knows."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from api_schemas.formats import FORMATS
from api_schemas.recovery import Precision
from api_schemas.workers import About

try:
    VERSION = version("layercut")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "0+unknown"

SEEN_BY_DRIVER = ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
PATIENCE_SECONDS = 10.0

#: CPUs that have one of these compute in bf16, as torch asks them.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_tile"})
#: GPUs that do not, by whole words of their names.
WITHOUT_BF16 = re.compile(r"\b(V100|P100|P40|T4|T400|T600|T1000|GTX|RTX 20[678]0|Quadro RTX)\b")

#: UUID, name and memory in MiB.
Gpu = tuple[str, str, str]


def about_worker(device: str) -> About:
    """``device`` as in ``LAYERCUT_DEVICE``."""
    here = {"host": socket.gethostname(), "pid": os.getpid(), "version": VERSION, "formats": written_here()}
    gpu = None if device == "cpu" else _chosen(device, _gpus())
    if gpu is None:
        return About(**here, device="cpu")
    _, name, memory = gpu
    # Of an instance of MIG the driver's program tells the whole GPU's memory.
    memory_bytes = None if device.startswith("MIG-") else _bytes(memory)
    return About(**here, device="cuda", gpu_name=name, gpu_memory_bytes=memory_bytes)


def written_here() -> list[str]:
    """Names of the formats whose packages are installed."""
    return [row.name for row in FORMATS.values() if all(find_spec(name) for name in row.needs)]


def auto_precision(about: About) -> Precision:
    """What ``recovery.precision: auto`` becomes there, as ``workers/runtime/device.py`` decides it with torch."""
    if about.device == "cuda":
        return "fp16" if WITHOUT_BF16.search(about.gpu_name or "") else "bf16"
    return "bf16" if BF16_FLAGS & _cpu_flags() else "fp32"


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return set()


def _gpus() -> list[Gpu]:
    try:
        listed = subprocess.run(
            SEEN_BY_DRIVER, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line.split(", ") for line in listed.splitlines()]
    return [(line[0], line[1], line[2]) for line in lines if len(line) == len(Gpu.__args__)]  # type: ignore[attr-defined]


def _chosen(device: str, gpus: list[Gpu]) -> Gpu | None:
    """The one of that UUID or number; else the first."""
    by_uuid = {gpu[0]: gpu for gpu in gpus}
    number = device.removeprefix("cuda:")
    if number.isdecimal():
        return dict(enumerate(gpus)).get(int(number))
    return by_uuid.get(device) or next(iter(gpus), None)


def _bytes(mebibytes: str) -> int | None:
    return int(mebibytes) * 2**20 if mebibytes.strip().isdecimal() else None
