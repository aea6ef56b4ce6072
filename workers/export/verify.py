"""Has the exported files checked by a fresh process that knows nothing of us (``verification/``): with the libraries
of this worker, and with those of other versions where it was given some.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.errors import LayercutError
from api_schemas.formats import Format
from api_schemas.reports import Check, OtherVersions, Verification
from workers.export.embeddings import Embeddings
from workers.export.files import as_exported
from workers.export.verification.model_checks import outputs_of
from workers.runtime.parts import Done, unheard

PROGRAM = Path(__file__).with_name("verification")
TIMEOUT_SECONDS = 1800.0
#: Of the full model, for which there is more time: its files are hashed, compared and run through, some ten times.
BYTES_A_SECOND = 10e6
#: Between two reports that it goes on.
WAIT_SECONDS = 30.0
#: Sets a clock that ends the program, and becomes it: a runner that is locked in may not be let end its children.
ENDING = (
    "import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]));"
    "os.execv(sys.executable, [sys.executable, '-I', '-c', *sys.argv[2:]])"
)
#: The program, by the path of its folder, with libraries out of further folders before those that are installed.
STARTING = (
    "import os, runpy, sys; place, name = os.path.split(sys.argv[1]);"
    "sys.path[:0] = sys.argv[2:]; sys.path.append(place);"
    "runpy.run_module(name, run_name='__main__')"
)
#: Signals of whoever wants the memory back, or an end: they say nothing of the files.
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
MAYBE_MEMORY = ": the kernel does that when memory runs out"
# What the fresh process may know of this one: enough to find shared libraries, and no token.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")


@dataclass(frozen=True)
class Streamed:
    """Where the exported tensors were copied from: by name, a file of ``folder`` and the tensor's name in it."""

    folder: Path
    origins: dict[str, tuple[str, str]]


#: What the exported tokenizer must make the same tokens of.
TEXTS = ("A text, and 2 others: \u4e2d \U0001f600", "  two  spaces\nand a line", "")


@dataclass(frozen=True)
class StockPipeline:
    """What a model was trained for: a ``task`` of stock `pipeline`, and what its config must say of its head."""

    task: str
    labels: tuple[str, ...]
    problem: str | None


@torch.inference_mode()
def save_probe(
    model: PreTrainedModel, inputs: dict[str, Tensor], path: Path, dtype: torch.dtype = torch.float32
) -> Path:
    """Write ``inputs`` and what ``model``, and its base, make of them in ``dtype`` on the CPU.

    That is logits, or hidden states. ``model`` must hold its weights as they are exported, rounding included; it stays
    as it is.
    """
    copied = as_exported(model, dtype).eval()
    taken = {name: value.cpu().contiguous() for name, value in inputs.items() if name != "labels"}
    whole, base = outputs_of(copied, taken)
    save_file({**taken, "expected": whole.contiguous(), "expected_base": base.clone()}, path)
    return path


def verify(
    folder: Path,
    probe: Path,
    *,
    layers: dict[str, int],
    source_bytes: int,
    kind: str,
    shared_layers: bool,
    dtype: torch.dtype = torch.float32,
    mapped: bool = False,
    streamed: Streamed | None = None,
    embeddings: Embeddings | None = None,
    pipeline: StockPipeline | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    formats: Sequence[Format] = (),
    others: Sequence[Path] = (),
    waited: Done = unheard,
) -> Verification:
    """Check ``folder`` against ``probe``: files, hashes, loading, tokenizer, layer count, outputs, size, generation.
    A sentence-transformers folder also against ``embeddings``, and one that was trained for a ``pipeline`` of stock
    `transformers` by that. ``tokenizer`` is the one that was exported. Each of ``formats`` that lies there, by stock
    onnxruntime, against the model in the folder.

    ``layers`` is what the config must say, by field; ``kind`` is that of the architecture. ``source_bytes`` is the size
    of the full model's weights in the exported dtype. ``dtype`` is that of ``probe``; where it is that of the files
    too, weights are read as they are used, so that a ``mapped`` model, which is larger than memory, can be checked.
    What was ``streamed`` must have the bytes of its source, and load as it does. ``others`` are folders with libraries
    of other versions: each is asked what depends on them. Raises ``verification_failed`` where a process itself fails,
    and ``attempts_exhausted``, which passes, where it is killed; a check that fails is in the answer. ``waited`` hears
    of how many seconds of those that it has.
    """
    asked = {
        "folder": str(folder.resolve()),
        "probe": str(probe.resolve()),
        "layers": layers,
        "source_bytes": source_bytes,
        "kind": kind,
        "shared_layers": shared_layers,
        "mapped": mapped,
        "dtype": str(dtype).removeprefix("torch."),
        "source": streamed and {"folder": str(streamed.folder.resolve()), "origins": streamed.origins},
        "embeddings": embeddings and embeddings.asked(),
        "pipeline": pipeline and asdict(pipeline),
        "formats": [asked_of(row) for row in formats],
        "tokens": [{"text": text, "made": dict(tokenizer(text))} for text in TEXTS] if tokenizer else [],
    }
    has = TIMEOUT_SECONDS + source_bytes / BYTES_A_SECOND
    said = _said_of(asked, None, has, waited)
    checks = _checks(said)
    return Verification(
        passed=all(check.passed for check in checks),
        checks=checks,
        versions=said["versions"],
        others=[_other(_said_of(asked, other, has, waited)) for other in others],
    )


def asked_of(row: Format) -> dict[str, str | float]:
    """What the check of one further format is told of it."""
    return {"name": row.name, "file": row.file, "tolerance": row.tolerance, "cosine": row.cosine}


def _other(said: dict[str, Any]) -> OtherVersions:
    checks, cannot = _checks(said), said["cannot"]
    passed = None if cannot else all(check.passed for check in checks)
    return OtherVersions(versions=said["versions"], passed=passed, cannot=cannot, checks=checks)


def _checks(said: dict[str, Any]) -> list[Check]:
    return [Check.model_validate(check) for check in said["checks"]]


def _said_of(asked: dict[str, object], other: Path | None, has: float, waited: Done) -> dict[str, Any]:
    """What the program prints, with the libraries of ``other`` before those of this process."""
    first = [] if other is None else [str(other)]
    with tempfile.TemporaryDirectory(prefix="layercut-verify-") as home:
        done = _run(asked | {"elsewhere": other is not None}, first, home, has, waited)
    if done.returncode != 0:
        where = f" with the libraries in {other}" if other else ""
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LayercutError(
            "verification_failed", f"the verification process{where} ended with {done.returncode}: {last}"
        )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _run(
    asked: dict[str, object], first: list[str], home: str, seconds: float, waited: Done
) -> subprocess.CompletedProcess[str]:
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
    command = [sys.executable, "-I", "-S", "-c", ENDING, str(seconds), STARTING, str(PROGRAM), *first]
    pipe = subprocess.PIPE
    # The open descriptors are for a source that was handed over so: all others are closed to a child anyhow.
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=home, env=env, close_fds=False
    ) as process:
        out, err = _said(process, json.dumps(asked), seconds, waited)
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if done.returncode == -signal.SIGALRM:
        raise LayercutError("verification_failed", f"the verification process took longer than {seconds:.0f} s")
    if -done.returncode in FROM_OUTSIDE:
        name = signal.Signals(-done.returncode).name
        raise LayercutError("attempts_exhausted", f"the verification process was killed by {name}{MAYBE_MEMORY}")
    return done


def _said(process: subprocess.Popen[str], asked: str, has: float, waited: Done) -> tuple[str, str]:
    """Its stdout and stderr; its own clock ends it, after the seconds that it ``has``. Of one that is stopped, or that
    outlives its clock, nothing more is told: whoever watches this process must see that it gets no further.
    """
    began = time.monotonic()
    given: str | None = asked
    while True:
        try:
            return process.communicate(given, timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            given = None  # it goes on with what it was given, and refuses any again
            seconds = time.monotonic() - began
            if seconds <= has and not _stopped(process.pid):
                waited(round(seconds), round(has))


def _stopped(child: int) -> bool:
    """Whether a signal has stopped it; no clock of its own runs out then."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    try:
        return os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
