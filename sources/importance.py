"""What the importance of layers is kept under: everything that was asked for and that they depend on.

The gateway and the worker both work it out, each for itself: so it is made of what both can know, and not of a device,
of libraries or of weights that a training left (docs/adr/0009-importance-by-question.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Delivered, Start
from api_schemas.further import left_spec
from api_schemas.pinned import PinnedSource
from api_schemas.plans import all_protected, removal_steps
from api_schemas.pruning import CalibrationSpec, PruneSpec
from api_schemas.recovery import Recovery, resolve_recovery
from api_schemas.requests import ModelRef, PlanRequest
from api_schemas.resolved import ResolvedRequest
from api_schemas.strategies import MEASURES, STRATEGIES
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources import cached_files
from sources.chosen_files import TEXTS, choose_files
from sources.datasets import table_files
from sources.fingerprint import NOT_OF_BASELINE, RECIPE, FileHashes, digest
from sources.glue import glue_identity
from sources.label_forms.label_sets import SEPARATOR
from sources.model_folder import folder_modules
from sources.models import given_folder
from sources.sentence_modules import MODULES, TOP_FILES
from sources.settings import SourceSettings
from sources.tables.data_file import DataFile
from sources.texts import text_file, unlabelled_file

KIND: Final = "layer_importance"
FILE = cached_files.IMPORTANCE

#: The bracket of one size, of the strategy `auto`.
BRACKET: Final = "search_bracket"
BRACKET_FILE = cached_files.BRACKET

#: Raise it with any change of what is measured, or of how: what was kept is then measured anew.
MEASURING = 3
#: Raise it with any change of how candidates compete.
HALVING = 2


def measures_baseline(recovery: Recovery, taken_from: str) -> bool:
    """Whether the baseline is measured, and not of the model as it came.

    Where the job distils, layers are dropped from the baseline; and only a head that was trained has answers to go by.
    """
    return recovery.method == "distill" or (recovery.method == "finetune" and taken_from in ("gradients", "removals"))


@dataclass(frozen=True)
class Asked:
    """What the importance of layers, or a search, is asked of. ``recovery`` as the model's facts decide it.

    The batch and the precision that data and device decide later are no part of it: the gateway cannot know them.
    ``stored``: the model, of a gateway that has no folder of it.
    """

    model: ModelRef
    task: TaskSpec
    prune: PruneSpec
    recovery: Recovery
    seed: int
    baseline_seed: int
    delivered: Delivered | None = None
    start: Start | None = None
    stored: PinnedSource | None = None

    @classmethod
    def by_job(cls, request: ResolvedRequest) -> Asked:
        """``request`` must have a recovery."""
        assert request.recovery is not None
        return cls(
            request.model, request.task, request.prune, request.recovery, request.seed,
            baseline_seed=request.seeds[0], delivered=request.delivered, start=request.start,
        )  # fmt: skip

    @classmethod
    def by_plan(
        cls,
        request: PlanRequest,
        facts: ModelFacts,
        delivered: Delivered | None = None,
        start: Start | None = None,
        stored: PinnedSource | None = None,
    ) -> Asked:
        recovery = resolve_recovery(request.recovery, facts, kind=request.task.task_kind)
        return cls(
            request.model, request.task, request.prune, recovery, request.seed,
            baseline_seed=request.seed, delivered=delivered, start=start, stored=stored,
        )  # fmt: skip


Identity = dict[str, Any]


@dataclass(frozen=True)
class Identities:
    """What a job reads, by its content: JSON. None where it is not read, or cannot be known now.

    ``text`` is what layers are measured on, ``unlabelled`` what is learnt from beside the task's rows. Taken where the
    data is read, and not when a fingerprint is wanted: a file may change in between.
    """

    model: Identity | None
    task: Identity | None
    text: Identity | None
    unlabelled: Identity | None = None


#: Of a job that asks for no importance and no search.
NOT_IDENTIFIED = Identities(None, None, None)


def identify(asked: Asked, facts: ModelFacts, settings: SourceSettings, hashes: FileHashes) -> Identities:
    """Reads no weights but to hash those of a local folder, and raises as the sources do."""
    calibration, unlabelled = asked.prune.calibration, asked.recovery.text
    return Identities(
        model=_model(asked, facts, settings, hashes),
        task=_task(asked, settings, hashes) if asked.task.trains else None,
        text=_texts(calibration, settings, hashes) if calibration.on_text else None,
        unlabelled=_unlabelled(unlabelled, asked, settings, hashes) if unlabelled else None,
    )


def importance_fingerprint(asked: Asked, facts: ModelFacts, read: Identities) -> str | None:
    """The fingerprint of what the strategy of ``asked`` ranks by; all from one pass share it.

    None where it cannot be known now, or where there is no data for a strategy that needs some. Of a job that goes on
    from what an earlier one delivered, that is measured: ``facts`` are still those of the original.
    """
    measure = MEASURES[STRATEGIES[asked.prune.strategy].measure or ""]
    recovery, calibration, start = asked.recovery, asked.prune.calibration, asked.start
    measured = read.model if start is None else {"delivered": start.sha256}
    parts: dict[str, Any] = {"model": measured, "from": measure.taken_from}
    parts["trains"] = recovery.method != "none"  # a model that will be trained is read in float32
    if start is None and measures_baseline(recovery, measure.taken_from):
        trained = recovery.of_baseline().model_dump(mode="json", exclude=set(NOT_OF_BASELINE))
        parts |= {"baseline": trained, "recipe": RECIPE, "task": read.task, "seed": asked.baseline_seed}
    if measure.taken_from != "weights":
        data = read.text if calibration.on_text else read.task
        parts |= {"data": data, "rows": calibration.rows, "drawn": asked.seed, "length": recovery.max_length}
    if measure.taken_from in ("gradients", "removals"):
        # How the model answers: with a task by its head for that, without one by its words or its states.
        parts |= {"answers": asked.task.decided_kind, "task": read.task} if asked.task.trains else {"answers": None}
    if measure.taken_from == "removals":
        spec, left = left_spec(asked.prune, start), start.model if start else facts
        parts |= {"protected": sorted(all_protected(spec, left)), "steps": removal_steps(spec, left)}
    if any(parts.get(name, "") is None for name in ("model", "task", "data")):
        return None
    return digest(KIND, version=MEASURING, **parts)


def search_fingerprint(asked: Asked, facts: ModelFacts, read: Identities) -> str | None:
    """The fingerprint of what `auto` is asked, but for the objective: jobs with several share the sizes they try.

    None where it cannot be known now.
    """
    lacks_text = asked.recovery.text is not None and read.unlabelled is None
    if read.model is None or read.task is None or lacks_text:
        return None
    return digest(
        "search", model=read.model, task=read.task, recovery=_recovery(asked), recipe=RECIPE,
        metric=asked.task.headline and asked.task.headline.name, positive=asked.task.positive_label,
        version=MEASURING, halving=HALVING, rows=asked.prune.calibration.rows, drawn=asked.seed,
        seed=asked.baseline_seed, protected=sorted(all_protected(asked.prune, facts)),
        **({"unlabelled": read.unlabelled} if read.unlabelled else {}),
    )  # fmt: skip


def _recovery(asked: Asked) -> Identity:
    """All of it that reaches a pruned model's weights: text counts by what is in it, an effort by what it means."""
    kind = asked.task.task_kind
    without = {"text", "effort"} if kind is None or kind.labels is None else {"text", "effort", "vector_loss"}
    return asked.recovery.model_dump(mode="json", exclude=without)


def bracket_fingerprint(question: str, drop: int, *, by_retention: bool) -> str:
    """Of the bracket of one size; ``by_retention``: its best has trained on, to be compared with other sizes'."""
    return digest(BRACKET, question=question, drop=drop, by_retention=by_retention)


def _model(asked: Asked, facts: ModelFacts, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    """A hub model by its commit, which is content too; a folder by what is in it, wherever it lies; what a job
    delivered by what is in its files.
    """
    if asked.delivered is not None:
        return {"delivered": asked.delivered.sha256}
    if asked.stored is not None:
        return _stored(asked.stored, with_modules=_has_vectors_of_its_own(asked))
    folder = given_folder(asked.model, settings)
    if folder is None:
        return None if facts.revision is None else {"id": facts.id, "revision": facts.revision}
    chosen = choose_files(folder)
    found = {"weights": hashes.of_files(folder, chosen.weights), "texts": hashes.of_files(folder, chosen.texts)}
    modules = folder_modules(folder) if _has_vectors_of_its_own(asked) else None
    # What makes a vector of the model's states is part of what answers.
    return found if modules is None else {**found, "modules": hashes.of_files(folder, modules.files)}


def modules_identity(asked: Asked, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    """Of the sentence-transformers modules of a model that its id or its digest does not tell; None where it has none.

    Raises as the sources do.
    """
    if asked.delivered is not None:
        return None
    if asked.stored is not None:
        found = _stored(asked.stored, with_modules=True)
        return None if found is None else found.get("modules")
    folder = given_folder(asked.model, settings)
    modules = None if folder is None else folder_modules(folder)
    return None if folder is None or modules is None else hashes.of_files(folder, modules.files)


def _has_vectors_of_its_own(asked: Asked) -> bool:
    """Whether what the model came with makes the vectors that are learnt."""
    return asked.task.task_kind is not None and asked.task.task_kind.teacher == "source"


def _stored(pinned: PinnedSource, *, with_modules: bool) -> Identity | None:
    """That of the folder which a worker makes of the files; None where their content is not known without them."""
    known = {file.name: file.sha256 for file in pinned.files}
    if None in known.values():
        return None
    top = [name for name in known if "/" not in name]
    found = {
        "weights": {name: known[name] for name in top if name.endswith(".safetensors")},
        "texts": {name: known[name] for name in top if PurePosixPath(name).suffix in TEXTS},
    }
    if not with_modules or MODULES not in known:
        return found
    return {**found, "modules": {name: known[name] for name in known if "/" in name or name in TOP_FILES}}


def _task(asked: Asked, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    """Of the rows to learn from: the seed draws the dev rows that are kept apart, and the rows of a limit."""
    spec = asked.task
    rows = glue_identity(spec.glue, settings, hashes) if spec.glue else _own(spec, settings, hashes)
    return None if rows is None else {**rows, "limit": spec.max_train_rows, "drawn": asked.seed}


def _own(spec: TaskSpec, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    train, dev = table_files(spec, settings)
    if train.partial:
        return None
    found = {
        "file": _file(train, hashes), "texts": spec.text_columns, "label": spec.label_column,
        "regression": spec.decided_kind == "regression", "split": dev is None,
        "labels": spec.model_dump()["labels"], "read": spec.read.model_dump(),
    }  # fmt: skip
    if spec.decided_kind in ("classification", "regression"):
        return found
    return {
        **found, "kind": spec.decided_kind, "columns": spec.label_columns,
        "separator": spec.label_separator or SEPARATOR,
    }  # fmt: skip


def _texts(calibration: CalibrationSpec, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    file = text_file(calibration, settings)
    if file.partial:
        return None
    read = calibration.read.model_dump()
    return {"file": _file(file, hashes), "texts": calibration.text_columns, "read": read}


def _unlabelled(spec: TextSpec, asked: Asked, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    file = unlabelled_file(spec, asked.task, settings)
    if file.partial:
        return None
    return {
        "file": _file(file, hashes), "texts": spec.columns, "read": spec.read.model_dump(),
        "rows": spec.rows, "drawn": asked.seed,
    }  # fmt: skip


def _file(file: DataFile, hashes: FileHashes) -> list[str]:
    return [file.kind, hashes.of(file.path)]
