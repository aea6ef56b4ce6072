"""What the importance of layers is kept under: everything that was asked for and that they depend on.

The gateway and the worker both work it out, each for itself: so it is made of what both can know, and not of a device,
of libraries or of weights that a training left (docs/decisions.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api_schemas.architectures import ModelFacts
from api_schemas.plans import all_protected, removal_steps
from api_schemas.recovery import Recovery, resolve_recovery
from api_schemas.requests import JobRequest, ModelRef, PlanRequest, TaskSpec
from api_schemas.strategies import MEASURES, STRATEGIES
from sources.datasets import table_files
from sources.fingerprint import NOT_OF_BASELINE, RECIPE, FileHashes, digest
from sources.glue import glue_identity
from sources.models import locate
from sources.settings import SourceSettings
from sources.texts import text_file

KIND = "layer_importance"
FILE = "layer_importance.json"

#: The bracket of one size, of the strategy `auto`.
BRACKET = "search_bracket"
BRACKET_FILE = "bracket.json"

#: Raise it with any change of what is measured, or of how: what was kept is then measured anew.
MEASURING = 2
#: Raise it with any change of how candidates compete.
HALVING = 2


def measures_baseline(recovery: Recovery, taken_from: str) -> bool:
    """Whether the baseline is measured, and not of the model as it came.

    Where the job distils, layers are dropped from the baseline; and only a head that was trained has answers to go by.
    """
    return recovery.method == "distill" or (recovery.method == "finetune" and taken_from in ("gradients", "removals"))


def importance_fingerprint(
    request: JobRequest | PlanRequest,
    facts: ModelFacts,
    settings: SourceSettings,
    hashes: FileHashes,
    *,
    seed: int | None = None,
) -> str | None:
    """The fingerprint of what the strategy of ``request`` ranks by; all from one pass share it.

    ``seed`` is that of the baseline's training, by default the request's. None where it cannot be known now, or where
    there is no data for a strategy that needs some. Reads no weights but to hash those of a local folder, and raises
    as the sources do.
    """
    measure = MEASURES[STRATEGIES[request.prune.strategy].measure or ""]
    recovery = resolve_recovery(request.recovery, facts, trains=request.task.trains)
    task = _task(request, settings, hashes) if request.task.trains else None
    parts: dict[str, Any] = {"model": _model(request.model, facts, settings, hashes), "from": measure.taken_from}
    parts["trains"] = recovery.method != "none"  # a model that will be trained is read in float32
    if measures_baseline(recovery, measure.taken_from):
        trained = recovery.of_baseline().model_dump(mode="json", exclude=set(NOT_OF_BASELINE))
        parts |= {"baseline": trained, "recipe": RECIPE, "task": task, "seed": request.seed if seed is None else seed}
    if measure.taken_from != "weights":
        calibration = request.prune.calibration
        data = _texts(request, settings, hashes) if calibration.on_text else task
        parts |= {"data": data, "rows": calibration.rows, "drawn": request.seed, "length": recovery.max_length}
    if measure.taken_from == "removals":
        spec = request.prune
        parts |= {"protected": sorted(all_protected(spec, facts)), "steps": removal_steps(spec, facts)}
    if any(parts.get(name, "") is None for name in ("model", "task", "data")):
        return None
    return digest(KIND, scorer=MEASURING, **parts)


def search_fingerprint(
    request: JobRequest | PlanRequest,
    facts: ModelFacts,
    settings: SourceSettings,
    hashes: FileHashes,
    *,
    seed: int | None = None,
) -> str | None:
    """The fingerprint of what `auto` is asked, but for the objective: jobs with several share the sizes they try.

    As ``importance_fingerprint`` otherwise.
    """
    if not request.task.trains:
        return None
    recovery = resolve_recovery(request.recovery, facts, trains=True)
    model, task = _model(request.model, facts, settings, hashes), _task(request, settings, hashes)
    if model is None or task is None:
        return None
    return digest(
        "search", model=model, task=task, recovery=recovery.model_dump(mode="json"), recipe=RECIPE, scorer=MEASURING,
        halving=HALVING, rows=request.prune.calibration.rows, drawn=request.seed,
        seed=request.seed if seed is None else seed, protected=sorted(all_protected(request.prune, facts)),
    )  # fmt: skip


def bracket_fingerprint(question: str, drop: int, *, by_retention: bool) -> str:
    """Of the bracket of one size; ``by_retention``: its best has trained on, to be compared with other sizes'."""
    return digest(BRACKET, question=question, drop=drop, by_retention=by_retention)


def _model(ref: ModelRef, facts: ModelFacts, settings: SourceSettings, hashes: FileHashes) -> dict[str, Any] | None:
    """A hub model by its commit, which is content too; a folder by what is in it, wherever it lies."""
    folder = locate(ref, settings).folder
    if folder is None:
        return None if facts.revision is None else {"id": facts.id, "revision": facts.revision}
    return {"weights": hashes.weights(folder), "texts": hashes.texts(folder)}


def _task(request: JobRequest | PlanRequest, settings: SourceSettings, hashes: FileHashes) -> dict[str, Any] | None:
    """Of the rows to learn from: the seed draws the dev rows that are kept apart, and the rows of a limit."""
    spec = request.task
    rows = glue_identity(spec.glue, settings, hashes) if spec.glue else _own(spec, settings, hashes)
    return None if rows is None else {**rows, "limit": spec.max_train_rows, "drawn": request.seed}


def _own(spec: TaskSpec, settings: SourceSettings, hashes: FileHashes) -> dict[str, Any]:
    train, dev = table_files(spec, settings)
    headline = spec.headline
    return {
        "file": _file(train.path, train.kind, hashes), "texts": spec.text_columns, "label": spec.label_column,
        "regression": bool(headline and headline.regression), "split": dev is None,
    }  # fmt: skip


def _texts(request: JobRequest | PlanRequest, settings: SourceSettings, hashes: FileHashes) -> dict[str, Any]:
    file = text_file(request.prune.calibration, settings)
    return {"file": _file(file.path, file.kind, hashes), "texts": request.prune.calibration.text_columns}


def _file(path: Path, kind: str, hashes: FileHashes) -> list[str]:
    return [kind, hashes.of(path)]
