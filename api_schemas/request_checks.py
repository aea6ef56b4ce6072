"""What the parts of a request must be to each other and to its model: what ``JobRequest`` and ``PlanRequest`` check.

Each raises ``LayercutError`` with the field to blame.
"""

from __future__ import annotations

from api_schemas.architectures import ARCHITECTURES, Architecture, ModelFacts, family_named
from api_schemas.errors import LayercutError
from api_schemas.labels import not_of_head
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import RecoverySpec
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS, TaskKind
from api_schemas.task_spec import LabelMap, TaskSpec
from api_schemas.text_spec import TextSpec

#: Fields of a recovery that are for tasks with labels (True) or without (False) alone.
FOR_LABELS = {"label_weight": True, "temperature": True, "vector_loss": False}


def evaluates_only(prune: PruneSpec, recovery: RecoverySpec) -> bool:
    """Whether the model stays as it is, and is not delivered again. Of parts that were checked."""
    return STRATEGIES[prune.strategy].drops_nothing and recovery.method == "none"


def trains(task: TaskSpec, recovery: RecoverySpec) -> bool:
    """Whether a model is trained."""
    return task.trains and recovery.method != "none"


def keeps_modules(task: TaskSpec, recovery: RecoverySpec) -> bool:
    """Whether a sentence-transformers folder stays one; else what is delivered is what the task makes of it."""
    return not trains(task, recovery) or (task.task_kind is not None and task.task_kind.teacher == "source")


def prune_for(task: TaskSpec, prune: PruneSpec) -> PruneSpec:
    """``prune`` with the strategy of the task's kind, where none is asked for; it suits the strategy."""
    kind = task.task_kind
    if "strategy" in prune.model_fields_set:
        return prune
    if kind is None or kind.strategy == prune.strategy:
        prune.check_strategy()
        return prune
    return PruneSpec.model_validate({**prune.model_dump(exclude_unset=True), "strategy": kind.strategy})


# --- the model


def check_model(task: TaskSpec, prune: PruneSpec, recovery: RecoverySpec, model: ModelFacts) -> None:
    """Raise for a task that the model's family is not trained on (``unsupported_architecture``), for an embedding of
    which the pooling is not known (``model_invalid``), for texts longer than the model reads, for labels that its head
    does not have, and for an evaluation without a head.
    """
    _check_words(task, model)
    kind = task.task_kind
    if kind is not None and kind.library == "sentence-transformers" and model.modules is None:
        raise LayercutError(
            "model_invalid",
            f"{model.id!r} has no modules.json: how its tokens become a vector (the pooling) is not known. Save it"
            " with sentence-transformers",
            param="/model",
        )
    longest, asked = model.max_positions, recovery.max_length
    if asked != "auto" and longest is not None and asked > longest:
        raise _refusal(
            f"max_length is {asked} tokens, and the model reads {longest} at most: give {longest} or less, or leave it"
            " out",
            "/recovery/max_length",
        )
    if kind is not None:
        _check_family(kind, ARCHITECTURES[model.architecture], model.architecture)
        if evaluates_only(prune, recovery):
            _check_head(kind, model)


def _check_words(task: TaskSpec, model: ModelFacts) -> None:
    meant = task.labels.root if isinstance(task.labels, LabelMap) else None
    unknown = not_of_head(model.labels, meant) if meant and model.labels else None
    if unknown is not None:
        raise _refusal(
            f"the head has no label {unknown!r}; its labels are: {', '.join(model.labels or ())}", "/task/labels"
        )


def check_id(task: TaskSpec, id: str) -> None:
    """Of a model that cannot be looked at: raise where its id alone tells that its family is not trained on the task
    (``unsupported_architecture``).
    """
    kind, family = task.task_kind, family_named(id)
    if kind is not None and family is not None:
        _check_family(kind, family, f"{id} ({family.name})")


def _check_family(kind: TaskKind, family: Architecture, spoken: str) -> None:
    if family.kind == "encoder-decoder":
        raise LayercutError(
            "unsupported_architecture",
            f"{spoken} is an encoder-decoder: it can be pruned with task 'none', and not trained on a task",
            param="/task",
        )
    if kind.auto_class in family.no_heads:
        able = ", ".join(row.name for row in TASK_KINDS.values() if row.auto_class not in family.no_heads)
        raise LayercutError(
            "unsupported_architecture",
            f"transformers has no class of {spoken} for {kind.name}; it can be for: {able}",
            param="/task/kind",
        )


def _check_head(kind: TaskKind, model: ModelFacts) -> None:
    ending = kind.auto_class.removeprefix("AutoModel")
    if kind.labels is not None and not any(name.endswith(ending) for name in model.classes[:1]):
        found = f"is a {model.classes[0]}" if model.classes else "does not say what it is"
        raise _refusal(
            f"{model.id!r} {found}, and has no head for {kind.name}; nothing is trained, so there is nothing to score:"
            f" give a model that is a …{ending}, or task 'none' to measure its speed alone",
            "/model",
        )


# --- recovery


def check_recovery(task: TaskSpec, recovery: RecoverySpec) -> None:
    """Raise for fields that what is learnt, or how, has no use for."""
    kind = task.task_kind
    if kind is not None:
        _check_of_kind(kind, recovery)
    # standard is what is done anyway.
    if not _distils(kind, recovery) and recovery.effort not in ("auto", "standard"):
        raise _refusal(
            "effort says what distill may cost, and nothing is distilled here: leave it out (finetune goes by epochs)",
            "/recovery/effort",
        )
    if recovery.text is not None:
        _check_text(task, recovery, recovery.text)


def _distils(kind: TaskKind | None, recovery: RecoverySpec) -> bool:
    return kind is not None and recovery.method in ("auto", "distill")


def _check_of_kind(kind: TaskKind, recovery: RecoverySpec) -> None:
    if kind.labels is None and recovery.method == "finetune":
        raise _refusal(
            f"{kind.spoken} has no labels to fine-tune on: distill, or leave the method out", "/recovery/method"
        )
    for field, of_labels in FOR_LABELS.items():
        if getattr(recovery, field) not in ("auto", 0) and of_labels != (kind.labels is not None):
            what = "with labels, and this has none" if of_labels else "without labels, and this has some"
            raise _refusal(f"{field} is for tasks {what} ({kind.name}): leave it out", f"/recovery/{field}")


def _check_text(task: TaskSpec, recovery: RecoverySpec, text: TextSpec) -> None:
    kind = task.task_kind
    if kind is None or kind.labels is None or not _distils(kind, recovery):
        why = "the task's own dataset is such text" if kind and kind.labels is None else "only distill learns from it"
        raise _refusal(f"text without labels: {why}", "/recovery/text")
    if recovery.label_weight == 1:
        raise _refusal(
            "text has no labels, and nothing but labels would be learnt from: give less than 1, or leave it out",
            "/recovery/label_weight",
        )
    columns = len(task.glue.columns if task.glue else task.text_columns or ("",))
    if text.columns and len(text.columns) != columns:
        raise _refusal(
            f"the task reads {columns} texts a row, and {len(text.columns)} columns are given",
            "/recovery/text/columns",
        )


# --- strategies


def check_search(task: TaskSpec, prune: PruneSpec, recovery: RecoverySpec) -> None:
    """That candidates have a task to compete on, and a baseline to come near to."""
    if not STRATEGIES[prune.strategy].searches:
        return
    if not task.trains:
        raise _refusal(
            f"strategy {prune.strategy!r} lets candidates learn from the baseline on a task's training rows; task is"
            " 'none'",
            "/prune/strategy",
        )
    if recovery.method not in ("auto", "distill"):
        raise _refusal(
            f"strategy {prune.strategy!r} compares candidates by what they learn from the baseline: recovery must be"
            f" 'distill', not {recovery.method!r}",
            "/recovery/method",
        )


def check_importance(task: TaskSpec, prune: PruneSpec) -> None:
    """That there is text to score on, and where the strategy needs them, labels."""
    strategy, calibration = STRATEGIES[prune.strategy], prune.calibration
    if strategy.needs_data and not task.trains and not calibration.on_text:
        raise _refusal(
            f"strategy {strategy.name!r} measures layers on a task's training text; task is 'none': give"
            " prune.calibration.dataset",
            "/prune/strategy" if calibration.source == "auto" else "/prune/calibration/source",
        )
    if strategy.needs_labels and task.trains and calibration.on_text:
        raise _refusal(
            f"strategy {strategy.name!r} measures layers by the loss on the task's labels, and text has none",
            "/prune/calibration",
        )


def _refusal(message: str, param: str) -> LayercutError:
    return LayercutError("validation_failed", message, param=param)
