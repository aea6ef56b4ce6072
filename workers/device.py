"""Where a job runs, and in which precision."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; raises ``validation_failed`` for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LayercutError("validation_failed", f"LAYERCUT_DEVICE is {name!r}, but torch sees no GPU")
    return device


def choose_precision(asked: Precision | str, device: torch.device) -> Precision:
    """``auto`` is bf16 where the device computes in it, and fp32 elsewhere."""
    if asked == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if asked == "fp16" and device.type == "cpu":
        raise LayercutError(
            "validation_failed", "fp16 needs a GPU: ask for bf16, fp32 or auto", param="/recovery/precision"
        )
    return asked  # type: ignore[return-value]


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Emulated bf16 is slower than fp32: only instructions count.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def describe(device: torch.device) -> dict[str, Any]:
    """For the report: a speed means nothing without the machine."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {"type": "cuda", "name": properties.name, "memory_bytes": properties.total_memory}
    return {"type": "cpu", "name": _cpu_name(), "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: of the machine, and of every control group (v2) that it is in.

    Without an answer of the system, more than there can be.
    """
    rows = _fields(root / "proc/meminfo")
    free = [rows["MemAvailable:"] * 1024] if "MemAvailable:" in rows else [sys.maxsize]
    inner = root / "sys/fs/cgroup" / _text(root / "proc/self/cgroup").rpartition("0::/")[2].strip()
    for folder in (inner, *inner.parents):
        limit, used = _text(folder / "memory.max").strip(), _text(folder / "memory.current").strip()
        if limit.isdecimal() and used.isdecimal():
            # Pages of files are given back when memory runs short.
            free.append(int(limit) - int(used) + _fields(folder / "memory.stat").get("inactive_file", 0))
    return max(0, min(free))


def _fields(path: Path) -> dict[str, int]:
    """Of lines like ``name 12`` or ``name: 12 kB``."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU where there is one, else the process's peak resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
