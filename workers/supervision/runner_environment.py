"""What a runner is told of its worker's environment: what it needs for its work, and no secret of the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from celery.utils.sysinfo import cpu_budget

NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "LANGUAGE",
        "TZ",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "LAYERCUT_CHECKPOINT_SECONDS",
        "LAYERCUT_CPU_ENGINE",
        "LAYERCUT_DATA_DIR",
        "LAYERCUT_GLUE_DIR",
        "LAYERCUT_MODEL_ROOTS",
        "LAYERCUT_DATA_ROOTS",
        "LAYERCUT_HUB_TIMEOUT_SECONDS",
        "LAYERCUT_DEVICE",
    }
)

#: HF_ holds the hub's token: gated models need it.
PREFIXES = (
    "LC_", "HF_", "TRANSFORMERS_", "TOKENIZERS_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_", "OMP_", "GOMP_", "MKL_",
)  # fmt: skip

#: How often an idle thread looks for work before it sleeps. On free cores a training is a fifth faster than with no
#: look at all, and where two trainings share the cores a sixth slower; with ten times as many looks, four times slower.
SPINS = "1000"

PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


def runner_environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The environment of a runner whose temporary files lie in ``scratch``.

    Threads that wait soon sleep, and there are no more of them than cores: the gateway lives on the same ones. Of the
    host's GPUs it sees the one that its worker was given by UUID: an index could mean another one to it.
    """
    device = environ.get("LAYERCUT_DEVICE", "")
    pinned = {"CUDA_VISIBLE_DEVICES": device} if device.startswith("GPU-") else {}
    threads = {"OMP_NUM_THREADS": str(cpu_budget().count), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}
    passed = {name: value for name, value in environ.items() if _needed(name)}
    return {**threads, **passed, **pinned, "TMPDIR": str(scratch)}


def _needed(name: str) -> bool:
    return name in NAMES or name.startswith(PREFIXES) or name.lower() in PROXIES
