"""Has the exported files checked by a fresh process that knows nothing of us (``verification.py``)."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.reports import Check, Verification

PROGRAM = Path(__file__).with_name("verification.py")
TIMEOUT_SECONDS = 1800.0
# What the fresh process may know of this one: enough to find shared libraries, and no token.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")


@torch.inference_mode()
def save_probe(model: PreTrainedModel, inputs: dict[str, Tensor], path: Path) -> Path:
    """Write ``inputs`` and what ``model`` makes of them, in float32 on the CPU: logits, or hidden states.

    ``model`` must hold its weights as they are exported, rounding included; it stays as it is.
    """
    copied = copy.deepcopy(model).to("cpu", torch.float32).eval()
    taken = {name: value.cpu().contiguous() for name, value in inputs.items() if name != "labels"}
    expected = copied(**taken)[0]
    save_file({**taken, "expected": expected.contiguous()}, path)
    return path


def verify(
    folder: Path, probe: Path, *, layers: dict[str, int], source_bytes: int, kind: str, shared_layers: bool
) -> Verification:
    """Check ``folder`` against ``probe``: files, hashes, loading, tokenizer, layer count, outputs, size, generation.

    ``layers`` is what the config must say, by field; ``kind`` is that of the architecture.
    ``source_bytes`` is the size of the full model's weights in the exported dtype. Raises ``verification_failed``
    where the process itself fails; a check that fails is in the answer.
    """
    asked = {
        "folder": str(folder.resolve()),
        "probe": str(probe.resolve()),
        "layers": layers,
        "source_bytes": source_bytes,
        "kind": kind,
        "shared_layers": shared_layers,
    }
    with tempfile.TemporaryDirectory(prefix="layercut-verify-") as home:
        done = _run(asked, home)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LayercutError("verification_failed", f"the verification process ended with {done.returncode}: {last}")
    said = json.loads(done.stdout)
    checks = [Check.model_validate(check) for check in said["checks"]]
    return Verification(passed=all(check.passed for check in checks), checks=checks, versions=said["versions"])


def _run(asked: dict[str, object], home: str) -> subprocess.CompletedProcess[str]:
    threads = str(torch.get_num_threads())
    env = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "HOME": home,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    try:
        return subprocess.run(
            [sys.executable, "-I", str(PROGRAM)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            cwd=home,
            env=env,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LayercutError(
            "verification_failed", f"the verification process took longer than {TIMEOUT_SECONDS:.0f} s"
        ) from error
