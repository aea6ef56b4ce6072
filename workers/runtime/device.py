"""Where a job runs, and in which precision."""

from __future__ import annotations

import platform
import resource
import sys

import torch

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision
from api_schemas.reports import Device

#: As nvidia-smi writes them: a GPU, and an instance of one that MIG divides.
UUID_PREFIX, INSTANCE_PREFIX = "GPU-", "MIG-"

_WITHOUT_BF16: dict[str, Precision] = {"cuda": "fp16", "cpu": "fp32"}

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; ``GPU-…`` is the one of that UUID, and ``MIG-…`` the one instance that
    CUDA_VISIBLE_DEVICES lets a process see. Raises ``validation_failed`` for a device that is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith(UUID_PREFIX):
        return torch.device("cuda", _index_of(name))
    # Which of the two UUIDs torch tells of an instance depends on the driver.
    device = torch.device("cuda", 0) if name.startswith(INSTANCE_PREFIX) else torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LayercutError("validation_failed", f"LAYERCUT_DEVICE is {name!r}, but torch sees no GPU")
    return device


def _index_of(uuid: str) -> int:
    here = [f"{UUID_PREFIX}{torch.cuda.get_device_properties(at).uuid}" for at in range(torch.cuda.device_count())]
    if uuid not in here:
        seen = ", ".join(here) or "no GPU"
        raise LayercutError("validation_failed", f"LAYERCUT_DEVICE is {uuid!r}, but torch sees {seen}")
    return here.index(uuid)


def choose_precision(asked: Precision | str, device: torch.device) -> Precision:
    """``auto`` is bf16 where the device computes in it; else fp16 on a GPU, and fp32 on a CPU."""
    if asked == "auto":
        return "bf16" if _has_bf16(device) else _WITHOUT_BF16[device.type]
    if asked == "fp16" and device.type == "cpu":
        raise LayercutError(
            "validation_failed", "fp16 needs a GPU: ask for bf16, fp32 or auto", param="/recovery/precision"
        )
    return asked  # type: ignore[return-value]


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Emulated bf16 is slower than fp32: only instructions count.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe(device: torch.device) -> Device:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return Device(
            type="cuda",
            name=properties.name,
            memory_bytes=properties.total_memory,
            float32_matmul=torch.get_float32_matmul_precision(),
        )
    return Device(type="cpu", name=_cpu_name(), threads=torch.get_num_threads())


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_memory(device: torch.device) -> int | None:
    """Bytes of the GPU that this process may still take; None on a CPU, where nobody can say."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU where there is one, else the process's peak resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
