"""How each kind of thing in the cache is written to a folder, and read from it bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from api_schemas.reports import Bracket
from api_schemas.strategies import LayerImportance
from sources.importance import BRACKET, BRACKET_FILE
from sources.importance import FILE as IMPORTANCE_FILE
from workers.evaluation.scores import Scores
from workers.protocol import CacheKind
from workers.training.trainer_state import TrainResult

WEIGHTS = "model.safetensors"


def save_baseline(model: PreTrainedModel, trained: TrainResult, folder: Path) -> None:
    save_model(model, str(folder / WEIGHTS))
    _write(folder / "trained.json", asdict(trained))


def load_baseline(model: PreTrainedModel, folder: Path) -> TrainResult:
    """Give ``model`` the baseline's weights, in place; how the baseline was trained."""
    load_model(model, folder / WEIGHTS, device=str(model.device))
    return TrainResult(**_read(folder / "trained.json"))


def save_logits(logits: npt.NDArray[np.float32], folder: Path) -> None:
    np.save(folder / "logits.npy", logits, allow_pickle=False)


def load_logits(folder: Path) -> npt.NDArray[np.float32]:
    return _array(folder / "logits.npy")


def save_scores(scores: Scores, folder: Path) -> None:
    for name in ("gold", "guess"):
        np.save(folder / f"{name}.npy", getattr(scores, name), allow_pickle=False)
    facts = {"score": scores.score, "metrics": scores.metrics, "undefined": scores.undefined}
    _write(folder / "scores.json", facts)


def load_scores(folder: Path) -> Scores:
    return Scores(**_read(folder / "scores.json"), gold=_array(folder / "gold.npy"), guess=_array(folder / "guess.npy"))


def save_layer_importance(importance: dict[str, LayerImportance], folder: Path) -> None:
    _write(folder / IMPORTANCE_FILE, importance)


def load_layer_importance(folder: Path) -> dict[str, LayerImportance]:
    return dict(_read(folder / IMPORTANCE_FILE))


def save_bracket(bracket: Bracket, folder: Path) -> None:
    _write(folder / BRACKET_FILE, bracket.model_dump(mode="json"))


def load_bracket(folder: Path) -> Bracket:
    return Bracket.model_validate(_read(folder / BRACKET_FILE))


#: Kind to how it is written and read.
CODECS: dict[CacheKind, tuple[Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    "baseline_logits": (save_logits, load_logits),
    "baseline_scores": (save_scores, load_scores),
    "layer_importance": (save_layer_importance, load_layer_importance),
    BRACKET: (save_bracket, load_bracket),
}


def _array(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    return array


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
