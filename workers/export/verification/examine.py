"""All checks, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers

from .embedding_checks import check_sentence_transformers
from .file_checks import check_files, check_hashes, check_size, check_tensors
from .format_checks import check_format
from .loaded import Said, loader
from .model_checks import check_generates, check_layers, check_loads, check_outputs
from .text_checks import check_padding, check_pipeline, check_tokenizer

ROOMS = {"api_schemas", "store", "sources", "telemetry", "figures", "service", "workers", "cli", "layercut"}


def check_alone(asked: dict[str, Any], _: Any) -> Said:
    """Nothing of layercut was needed for all this."""
    ours = sorted(ROOMS.intersection(name.partition(".")[0] for name in sys.modules))
    return not ours, f"imported: {', '.join(ours)}" if ours else "stock transformers and no code of layercut"


Check = Callable[[dict[str, Any], Any], Said]

# The last one is asked last: by then everything that will be imported is.
_CHECKS: tuple[Check, ...] = (
    check_files, check_hashes, check_loads, check_tensors, check_tokenizer, check_padding, check_layers, check_outputs,
    check_generates, check_pipeline, check_size, check_sentence_transformers, check_alone,
)  # fmt: skip
CHECKS = {check.__name__.removeprefix("check_"): check for check in _CHECKS}
OF_COPIES = {"tensors"}
# What another version of the libraries may find otherwise. Where one of READERS cannot be carried out, it cannot read
# the folder at all, and nothing else is asked.
ELSEWHERE = {
    "loads", "tokenizer", "padding", "layers", "outputs", "generates", "pipeline", "sentence_transformers",
}  # fmt: skip
READERS = {"loads", "tokenizer"}


def examine(asked: dict[str, Any]) -> dict[str, Any]:
    """Carry out every check."""
    loaded = loader(asked["folder"], getattr(torch, asked["dtype"]))
    checks: list[dict[str, Any]] = []
    cannot = None
    with torch.inference_mode():
        for name, check in _asked(asked):
            passed, detail, raised = _carried_out(check, asked, loaded)
            checks.append({"name": name, "passed": passed, "detail": detail})
            if asked["elsewhere"] and raised and name in READERS:
                cannot = detail
                break
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"checks": checks, "versions": versions, "cannot": cannot}


def _asked(asked: dict[str, Any]) -> list[tuple[str, Check]]:
    left_out = set() if asked["source"] else OF_COPIES
    rows = [(name, check) for name, check in CHECKS.items() if name not in left_out]
    if asked["elsewhere"]:
        return [(name, check) for name, check in rows if name in ELSEWHERE]
    # They make the model of the folder float32: what needs it as it is comes before.
    formats: list[tuple[str, Check]] = [(row["name"], partial(check_format, row)) for row in asked["formats"]]
    return [*rows[:-1], *formats, rows[-1]]


def _carried_out(check: Check, asked: dict[str, Any], loaded: Any) -> tuple[bool, str, bool]:
    """Whether it passed, what was found, and whether that is an exception."""
    try:
        return *check(asked, loaded), False
    except Exception as error:  # noqa: BLE001 - whatever it was, the check was not passed, and its words say why
        return False, f"{type(error).__name__}: {error}"[:1000], True
