"""What a runner is told of its worker's environment: what it needs for its work, and no secret of the service."""

from __future__ import annotations

import site
from collections.abc import Mapping
from pathlib import Path

from celery.utils.sysinfo import cpu_budget

NAMES = frozenset(
    {
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "LAYERCUT_CHECKPOINT_SECONDS",
        "LAYERCUT_CPU_ENGINE",
        "LAYERCUT_DEVICE",
        "LAYERCUT_LOG_LEVEL",
        "LAYERCUT_VERIFY_WITH",
        # it holds to what the job was accepted by
        "LAYERCUT_MAX_MODEL_BYTES",
        "LAYERCUT_MAX_ROWS",
        "LAYERCUT_TABLE_BYTES",
    }
)

#: Nothing of the hub's client, HF_TOKEN least of all, and no proxy: a runner has no network.
PREFIXES = (
    "LC_", "TRANSFORMERS_", "TOKENIZERS_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_", "OMP_", "GOMP_", "MKL_",
)  # fmt: skip

#: Where libraries keep things, in the scratch folder. A user's name, so that none looks for one in /etc/passwd.
OWN = {
    "HOME": "home",
    "TMPDIR": "tmp",
    "XDG_CACHE_HOME": "home/.cache",
    "HF_HOME": "home/huggingface",
    "CUDA_CACHE_PATH": "home/cuda",
    "TORCH_HOME": "home/torch",
    "TORCHINDUCTOR_CACHE_DIR": "home/inductor",
    "TRITON_CACHE_DIR": "home/triton",
}
#: A process is locked in while it has one thread: those of these libraries begin when they are imported.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
FIXED = {
    **ONE_THREAD,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_PROC_BIND": "false",  # its threads would be bound by their numbers, which are not the runner's own
    "JOBLIB_MULTIPROCESSING": "0",  # it would try /dev/shm, which all processes share, and warn
    "USER": "layercut",
    "LOGNAME": "layercut",
}

#: How often an idle thread looks for work before it sleeps. On free cores a training is a fifth faster than with no
#: look at all, and where two trainings share the cores a sixth slower; with ten times as many looks, four times slower.
SPINS = "1000"


def runner_environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The environment of a runner whose scratch folder is ``scratch``: what it keeps, it keeps there.

    Threads that wait soon sleep, and there are no more of them than cores: the gateway lives on the same ones. Of the
    host's GPUs it sees the one that its worker was given by UUID: an index could mean another one to it.
    """
    device = environ.get("LAYERCUT_DEVICE", "")
    pinned = {"CUDA_VISIBLE_DEVICES": device} if device.startswith(("GPU-", "MIG-")) else {}
    threads = {"OMP_NUM_THREADS": str(cpu_budget().count), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}
    passed = {name: value for name, value in environ.items() if _needed(name)}
    # Where `pip install --user` put things: Python looks for it in HOME, which is another one now.
    user = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}
    own = {name: str(scratch / folder) for name, folder in OWN.items()}
    return {**threads, **passed, **pinned, **FIXED, **own, **user}


def _needed(name: str) -> bool:
    return name in NAMES or name.startswith(PREFIXES)
