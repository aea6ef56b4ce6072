"""Measures the importance of a job's layers: on which text, and by which loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.plans import all_protected, removal_steps
from api_schemas.pruning import PruneSpec
from api_schemas.strategies import MEASURES, STRATEGIES, LayerImportance
from sources.cached_files import as_importance
from sources.importance import KIND, measures_baseline
from workers.data.batches import RowIndexes, collate, inference_batches
from workers.data.features import Features
from workers.pruning.importance import Batch, Loss, measure_activations, measure_gradients, measure_weights
from workers.pruning.language import masked_token, next_token
from workers.pruning.removals import Answers, measure_removals
from workers.runtime.device import choose_precision
from workers.runtime.parts import Done, counted, unheard
from workers.stages import fingerprints
from workers.stages.resolved_job import ResolvedJob
from workers.stages.run_context import RunContext
from workers.training.objectives.losses import StudentOutput, label_objective

# A backward pass keeps the states of every layer.
GRADIENT_TOKENS = 2048


@dataclass(frozen=True)
class Measuring:
    """What is measured: ``model``, which is the job's source, its baseline or what it starts from. ``spec`` asks of its
    own layers, and ``facts`` are its own.
    """

    job: ResolvedJob
    spec: PruneSpec
    model: PreTrainedModel
    facts: ModelFacts
    done: Done = unheard

    def rows(self) -> Features:
        return self.job.calibration(self.spec.calibration)

    def batches(self, rows: Features, **size: int) -> Iterator[RowIndexes]:
        """Of ``rows``."""
        return counted(inference_batches(rows, **size), self.done)


def importance_of(
    run: RunContext, spec: PruneSpec, source: PreTrainedModel, baseline: PreTrainedModel | None
) -> dict[str, LayerImportance]:
    """By measure: that of the strategy of ``spec``, and all others that come of the same pass; from the cache where
    they are there. ``source`` is the model that layers are dropped from where they are not dropped from the baseline.
    """
    job, measure = run.job, MEASURES[STRATEGIES[spec.strategy].measure or ""]
    by_baseline = job.start is None and measures_baseline(job.recovery, measure.taken_from)
    model = baseline if by_baseline else source
    assert model is not None
    asked = Measuring(job, job.cut_spec(spec), model, job.cut_facts, run.progress.part)
    take = partial(take_importance, measure.taken_from, asked)
    fingerprint = fingerprints.importance(job, spec)
    form = partial(as_importance, layers=job.cut_facts.layers, measure=measure.name)
    return take() if fingerprint is None else run.cache.share(KIND, fingerprint, take, form)


def take_importance(taken_from: str, asked: Measuring) -> dict[str, LayerImportance]:
    """Every measure that is taken from ``taken_from`` (of ``MEASURES``), in one pass."""
    return TAKERS[taken_from](asked)


def _weights(asked: Measuring) -> dict[str, LayerImportance]:
    return measure_weights(asked.model, asked.job.architecture, lambda layers: counted(list(layers), asked.done))


def _activations(asked: Measuring) -> dict[str, LayerImportance]:
    rows, device = asked.rows(), asked.job.device
    batches = (collate(rows, batch, device) for batch in asked.batches(rows))
    return measure_activations(asked.model, asked.job.architecture, batches)


def _gradients(asked: Measuring) -> dict[str, LayerImportance]:
    if asked.job.texts is not None and (asked.job.task_kind is None or asked.job.kind.row.labels is not None):
        return measure_gradients(asked.model, asked.job.architecture, _unlabelled(asked))
    return measure_gradients(asked.model, asked.job.architecture, _labelled(asked), partial(_read, asked.job))


def _removals(asked: Measuring) -> dict[str, LayerImportance]:
    rows, spec, facts, device = asked.rows(), asked.spec, asked.facts, asked.job.device
    free = set(range(facts.layers)) - all_protected(spec, facts)
    # Dozens of passes, and what is compared is rounded alike: bf16 gives the same order (docs/strategies.md).
    # fp16 could overflow, and would look like a broken model.
    quick = choose_precision("auto", device) == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=quick):
        return measure_removals(
            asked.model,
            asked.job.architecture,
            lambda: (collate(rows, batch, device) for batch in asked.batches(rows)),
            free=free,
            steps=removal_steps(spec, facts),
            answers=_answers(asked.job),
        )


TAKERS: dict[str, Callable[[Measuring], dict[str, LayerImportance]]] = {
    "weights": _weights,
    "activations": _activations,
    "gradients": _gradients,
    "removals": _removals,
}


def _answers(job: ResolvedJob) -> Answers | None:
    """How the job's models answer its task; None where there is none, or they have no head for it."""
    return Answers(job.kind.form, partial(_read, job)) if job.scored else None


def _read(job: ResolvedJob, model: PreTrainedModel, inputs: Batch) -> Tensor:
    values = job.kind.answer(model, inputs).values
    return values if job.label_order is None else values[..., job.label_order]


def _labelled(asked: Measuring) -> Iterator[tuple[Batch, Loss]]:
    """The task's loss, on its gold labels; of a kind without labels, what the kind has in its place."""
    job = asked.job
    if not job.scored or job.data is None:
        why = job.why_not_scored if job.data is not None else "there is no task"
        message = f"taylor goes by the model's loss on the task's labels, but {why}"
        raise LayercutError("validation_failed", message, param="/prune/strategy")
    rows = asked.rows()
    objective = label_objective(job.kind, rows, job.device)

    def loss_of(inputs: Batch, batch: RowIndexes, values: Tensor) -> Tensor:
        if job.kind.row.labels is None:
            return job.kind.label_loss(values, values)
        return objective.loss(StudentOutput(inputs, values, ()), batch)

    for batch in asked.batches(rows, tokens=GRADIENT_TOKENS):
        inputs = collate(rows, batch, job.device)
        yield inputs, partial(loss_of, inputs, batch)


def _unlabelled(asked: Measuring) -> Iterator[tuple[Batch, Loss]]:
    """The loss of the model's own language-model head."""
    job, model, rows = asked.job, asked.model, asked.rows()
    causal = job.architecture.kind == "decoder"
    if model.get_output_embeddings() is None or not (causal or job.tokenizer.mask_token_id is not None):
        raise LayercutError(
            "validation_failed",
            f"taylor goes by a loss: without a task, the model must have a language-model head, and"
            f" {type(model).__name__} has none; give a task, or take block_influence or angular",
            param="/prune/strategy",
        )
    draw = torch.Generator().manual_seed(job.request.seed)
    for batch in asked.batches(rows, tokens=GRADIENT_TOKENS):
        inputs = collate(rows, batch, job.device)
        yield next_token(inputs) if causal else masked_token(inputs, job.tokenizer, draw)
