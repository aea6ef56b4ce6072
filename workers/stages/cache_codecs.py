"""How each kind of thing in the cache is written to a folder, and read from it bit for bit: by another runner, so with
suspicion. What cannot be used raises ``Unusable``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.reports import Bracket, Latency
from api_schemas.strategies import LayerImportance
from sources.cached_files import Unusable, read_json
from sources.headers import read_layout
from sources.importance import BRACKET, BRACKET_FILE
from sources.importance import FILE as IMPORTANCE_FILE
from workers.data.arrays import read_array
from workers.evaluation.scores import Scores
from workers.protocol import CacheKind
from workers.training.trainer_state import TrainResult

WEIGHTS = "model.safetensors"
LATENCY = "latency.json"

Form = TypeVar("Form")


def save_baseline(model: PreTrainedModel, trained: TrainResult, folder: Path) -> None:
    save_model(model, str(folder / WEIGHTS))
    _write(folder / "trained.json", asdict(trained))


def load_baseline(model: PreTrainedModel, folder: Path) -> TrainResult:
    """Give ``model`` the baseline's weights, in place; how the baseline was trained. ``model`` is as it was where
    ``Unusable`` is raised.
    """
    trained = _as(TrainResult, read_json(folder / "trained.json"), "trained.json")
    _check_weights(model, folder / WEIGHTS)
    load_model(model, folder / WEIGHTS, device=str(model.device))
    return trained


def _check_weights(model: PreTrainedModel, file: Path) -> None:
    """That all tensors of ``model`` are there, in their shapes, and no others. Of tied ones, one is enough."""
    try:
        layout = read_layout(file)
    except (LayercutError, OSError) as error:
        raise Unusable(file.name, str(error)[:200]) from None
    own = model.state_dict()
    given = {own[name].data_ptr() for name in layout.tensors if name in own}
    wrong = [name for name, tensor in layout.tensors.items() if name not in own or own[name].shape != tensor.shape]
    wrong += [name for name, tensor in own.items() if name not in layout.tensors and tensor.data_ptr() not in given]
    if wrong:
        raise Unusable(file.name, f"{wrong[0][:200]} is not as the model has it")


def save_logits(logits: npt.NDArray[np.float32], folder: Path) -> None:
    np.save(folder / "logits.npy", logits, allow_pickle=False)


def load_logits(folder: Path) -> npt.NDArray[np.float32]:
    return read_array(folder / "logits.npy", dimensions=2)


def save_scores(scores: Scores, folder: Path) -> None:
    for name in ("gold", "guess"):
        np.save(folder / f"{name}.npy", getattr(scores, name), allow_pickle=False)
    facts = {"score": scores.score, "metrics": scores.metrics, "undefined": scores.undefined}
    _write(folder / "scores.json", facts)


def load_scores(folder: Path) -> Scores:
    facts = _as(_Facts, read_json(folder / "scores.json"), "scores.json")
    # A model may answer what is no finite number: it has no score then, and says why.
    gold = read_array(folder / "gold.npy", dimensions=(1, 2))
    guess = read_array(folder / "guess.npy", dimensions=(1, 2), finite=facts.score is not None)
    return Scores(**asdict(facts), gold=gold, guess=guess)


@dataclass(frozen=True)
class _Facts:
    """Of scores, without the rows."""

    score: float | None
    metrics: dict[str, float | None]
    undefined: dict[str, str]


def save_layer_importance(importance: dict[str, LayerImportance], folder: Path) -> None:
    _write(folder / IMPORTANCE_FILE, importance)


def load_layer_importance(folder: Path) -> Any:
    """Still to be held against the layers of the model."""
    return read_json(folder / IMPORTANCE_FILE)


def save_bracket(bracket: Bracket, folder: Path) -> None:
    _write(folder / BRACKET_FILE, bracket.model_dump(mode="json"))


def load_bracket(folder: Path) -> Any:
    """Still to be held against the layers of the model."""
    return read_json(folder / BRACKET_FILE)


def save_latencies(latencies: list[list[Latency]], folder: Path) -> None:
    """Of each model, those of each cell."""
    _write(folder / LATENCY, [[cell.model_dump(mode="json") for cell in cells] for cells in latencies])


def load_latencies(folder: Path) -> list[list[Latency]]:
    return _as(list[list[Latency]], read_json(folder / LATENCY), LATENCY)


#: Kind to how it is written and read.
CODECS: dict[CacheKind, tuple[Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    "baseline_logits": (save_logits, load_logits),
    "baseline_scores": (save_scores, load_scores),
    "layer_importance": (save_layer_importance, load_layer_importance),
    BRACKET: (save_bracket, load_bracket),
    "latency": (save_latencies, load_latencies),
}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _as(form: type[Form], found: Any, name: str) -> Form:
    try:
        return TypeAdapter(form).validate_python(found)
    except ValidationError as error:
        raise Unusable(name, str(error.errors(include_url=False, include_input=False)[0]["msg"])) from None
