"""The search of `auto` on one job: candidates are cut from the baseline, trained a little, and compared with it.

A slice of the training rows is kept out of all the search's trainings, and candidates are compared there by how near
their answers are to the baseline's. Dev is not looked at.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.curves import choose, objective_of, search_of, searched_plan, sizes_of
from api_schemas.errors import LayercutError
from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from api_schemas.reports import Bracket, Candidate, Latency, Trial
from api_schemas.search import BRACKET_SHARE, RETENTION_SHARE, most_steps
from api_schemas.strategies import STRATEGIES, LayerImportance
from sources.cached_files import as_bracket
from sources.importance import BRACKET, bracket_fingerprint
from workers.evaluation import latency, metrics
from workers.evaluation.scores import answers_of
from workers.pruning.surgery import drop_layers
from workers.runtime.casting import cast_weights
from workers.search.candidates import asked_of, candidates_of
from workers.search.distances import clearly_less
from workers.search.halving import compete
from workers.stages import fingerprints
from workers.stages.layer_importance import importance_of
from workers.stages.progress import ProgressReporter
from workers.stages.resolved_job import ResolvedJob
from workers.stages.run_context import RunContext
from workers.training.best_checkpoint import hold_out
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.objectives.distillation import distillation
from workers.training.trainer_state import Step


def search_layers(run: RunContext, baseline: PreTrainedModel) -> Plan:
    """The plan of the best candidate of the best size. Raises what scoring and training raise."""
    job, spec = run.job, run.job.request.prune
    sizes = sizes_of(spec, counted(job, baseline))
    with run.progress.stage(Stage.SCORING):
        importance = _all_importance(run, baseline)
    with run.progress.stage(Stage.PLANNING):
        objective = objective_of(spec, job.facts)
        halving = SuccessiveHalving(run, baseline, expected_steps(job))
        times = _latencies(run, baseline, sizes)
        brackets: dict[int, Bracket] = {}
        question = fingerprints.search(job)
        made: set[int] = set()

        def run_bracket(drop: int) -> Bracket:
            def make() -> Bracket:
                made.add(drop)
                return halving.run_bracket(drop, candidates_of(spec, job.facts, drop, importance))

            if question is None:
                brackets[drop] = make()
            else:
                fingerprint = bracket_fingerprint(question, drop, by_retention=halving.by_retention)
                form = partial(as_bracket, layers=job.facts.layers, drop=drop)
                brackets[drop] = run.cache.share(BRACKET, fingerprint, make, form)
            _tell(run.progress, brackets[drop])
            return brackets[drop]

        chosen = choose(objective, sizes, run_bracket, times)
        if chosen not in brackets:
            run_bracket(chosen)
        halving.close()
        search = search_of(spec, job.facts, brackets, times, chosen=chosen)
        spent = sum(brackets[drop].steps for drop in made)
        plan = searched_plan(spec, job.facts, search.model_copy(update={"spent_steps": spent}))
        run.progress.resolved(job.shown(plan), "the layers are chosen")
    return plan


def expected_steps(job: ResolvedJob) -> int:
    """Optimizer steps that the search takes at most, about."""
    assert job.train is not None
    full, sizes = job.recovery.steps_of(len(job.train)), sizes_of(job.request.prune, job.facts)
    return most_steps(full, len(sizes), by_retention=by_retention(job))


def by_retention(job: ResolvedJob) -> bool:
    """Whether sizes compete by what is left of the score: then a few steps of training do not tell enough."""
    goal = job.request.prune.objective
    return goal is not None and goal.min_retention is not None


def counted(job: ResolvedJob, model: PreTrainedModel) -> ModelFacts:
    """The facts; where size is the objective, with the parameters of the head that ``model`` has got for the task."""
    goal = job.request.prune.objective
    if goal is None or goal.max_params is None:
        return job.facts
    return job.facts.model_copy(update={"parameters": model.num_parameters()})


def _all_importance(run: RunContext, baseline: PreTrainedModel) -> dict[str, LayerImportance]:
    """By measure; of one pass for all measures that are taken from one thing."""
    found: dict[str, LayerImportance] = {}
    asked, facts = run.job.request.prune, run.job.facts
    for name, spec in asked_of(asked, facts, sizes_of(asked, facts)[-1]).items():
        measure = STRATEGIES[name].measure
        if measure is None or measure in found:
            continue
        try:
            found |= importance_of(run, spec, baseline, baseline)
        except LayercutError as error:
            if error.code != "invalid_layers":
                raise
            run.progress.warn(f"{name} does not compete: {error.message}")
    return found


def _latencies(run: RunContext, baseline: PreTrainedModel, sizes: Sequence[int]) -> dict[int, Latency]:
    """Of each size, where the objective is about speed: how deep a model is decides, and hardly which layers it has."""
    goal = run.job.request.prune.objective
    if goal is None or goal.cell is None:
        return {}
    layers, (rows, tokens) = run.job.facts.layers, run.job.readable(goal.cell)
    # In the type that will be exported, and timed again.
    typed = cast_weights(copy.deepcopy(baseline), run.job.dtype)
    models = [_cut(run, typed, range(layers - drop)) for drop in sizes]
    measured = latency.measure(models, [(rows, tokens)], device=run.job.device, done=run.progress.part)
    return {drop: found[0] for drop, found in zip(sizes, measured, strict=True)}


def _cut(run: RunContext, baseline: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A model of the layers ``kept``, with the baseline's own weights."""
    shared = {id(weight): weight for weight in (*baseline.parameters(), *baseline.buffers())}
    model = copy.deepcopy(baseline, shared)
    drop_layers(model, run.job.architecture, list(kept))
    return model


def _tell(progress: ProgressReporter, bracket: Bracket) -> None:
    best = bracket.best
    share = "" if bracket.retention is None else f", {bracket.retention:.1%} of the score on held-out rows"
    progress.log(
        f"of {len(bracket.candidates)} ways to drop {bracket.drop} layers, without {best.dropped}"
        f" ({', '.join(best.strategies)}) is chosen after {best.last.steps} steps{share}"
    )


def _name(candidate: Candidate, steps: int) -> str:
    return f"{candidate.dropped} after {steps}"


class SuccessiveHalving:
    """Runs brackets (Jamieson and Talwalkar 2016, arXiv 1502.07943).

    All candidates of a rung learn from the same rows in the same order.
    """

    def __init__(self, run: RunContext, baseline: PreTrainedModel, expected: int) -> None:
        job = run.job
        assert job.train is not None
        assert job.data is not None
        rows = len(job.train)
        if rows < 2:
            raise LayercutError(
                "dataset_invalid", "auto needs 2 training rows at least: one to learn from, one to compare on",
                param="/task",
            )  # fmt: skip
        learnt, held = hold_out(rows, job.request.seed)
        self._run, self._baseline = run, baseline
        self._held = job.train.take(held)
        #: A longer training has the rows of a shorter one, and more.
        self._order = np.random.default_rng(job.request.seed).permutation(learnt)
        self._full = job.recovery.steps_of(rows)
        self._answers = answers_of(job.kind, baseline, self._held, job.device, run.progress.part)
        self._slot = run.slot("trials")
        found = self._slot.latest()
        self._known: dict[str, Trial] = {}
        #: Of the same trials, where they have any: the distance of each held-out row.
        self._far: dict[str, np.ndarray] = {}
        if found is not None:
            self._known = {name: Trial.model_validate(trial) for name, trial in found.facts["trials"].items()}
            self._far = {name: far.numpy() for name, far in found.tensors.items()}
        self._done, self._expected, self._last = 0, expected, time.perf_counter()
        self.by_retention = by_retention(job)

    def run_bracket(self, drop: int, candidates: Sequence[Candidate]) -> Bracket:
        """Raises ``training_diverged`` where every candidate's training did."""
        budget = int(self._full * BRACKET_SHARE)
        ranked = compete(candidates, budget, self._trial, self._clearly_nearer, self._keep)
        best = ranked[0]
        if self.by_retention:
            last = self._trial(best, max(1, int(self._full * RETENTION_SHARE)))
            ranked[0] = best = best.model_copy(update={"trials": [*best.trials, last]})
            self._keep()
        if best.last.distance is None:
            raise LayercutError(
                "training_diverged",
                f"no way to drop {drop} layers could be trained: lower recovery.learning_rate",
                param="/recovery/learning_rate",
            )
        steps = sum(trial.steps for one in ranked for trial in one.trials)
        whole = self._score(self._answers)
        return Bracket(drop=drop, rows=len(self._held), baseline_score=whole, candidates=ranked, steps=steps)

    def close(self) -> None:
        """The search is over: what was expected and not needed is not ahead any more."""
        self._jump(self._expected - self._done)
        self._slot.forget()

    def _keep(self) -> None:
        """An attempt that goes on elsewhere begins after the last finished rung."""
        trials = {name: trial.model_dump(mode="json") for name, trial in self._known.items()}
        rows = {name: torch.from_numpy(far) for name, far in self._far.items()}
        self._slot.save(len(trials), rows, {"trials": trials})

    def _trial(self, candidate: Candidate, steps: int) -> Trial:
        name = _name(candidate, steps)
        if name in self._known:
            self._jump(steps)
        else:
            self._known[name], far = self._try(candidate.dropped, steps)
            if far is not None:
                self._far[_name(candidate, self._known[name].steps)] = far
        return self._known[name]

    def _clearly_nearer(self, one: Candidate, other: Candidate) -> bool:
        return clearly_less(*(self._far[_name(each, each.last.steps)] for each in (one, other)))

    def _try(self, dropped: list[int], steps: int) -> tuple[Trial, np.ndarray | None]:
        """And the distance of each held-out row; None where it is not a number."""
        job = self._run.job
        kept = [layer for layer in range(job.facts.layers) if layer not in dropped]
        model = _cut(self._run, self._baseline, kept)
        if steps:
            model = copy.deepcopy(model)
            try:
                steps = self._train(model, kept, steps)
            except LayercutError as error:
                if error.code != "training_diverged":
                    raise
                return Trial(steps=steps, distance=None, score=None), None
        answers = answers_of(job.kind, model, self._held, job.device, self._run.progress.part)
        far = job.kind.distances(self._answers, answers, self._held)
        mean, score = float(far.mean()), self._score(answers)
        if not math.isfinite(mean):
            return Trial(steps=steps, distance=None, score=score), None
        return Trial(steps=steps, distance=mean, score=score), far

    def _train(self, model: PreTrainedModel, kept: list[int], steps: int) -> int:
        """The job's own recovery, made short: on as many rows as ``steps`` batches take, its rate falling to nothing
        at the end.
        """
        job = self._run.job
        assert job.train is not None
        batch = job.recovery.batch_of(len(job.train))
        rows = job.train.take(np.sort(self._order[: steps * batch]))
        recovery = job.recovery.model_copy(update={"epochs": steps / math.ceil(len(rows) / batch)})
        hooks = TrainingHooks(micro_batches=self._run.micro_batches, on_warning=self._run.progress.warn)
        with distillation(
            job.kind, self._baseline, rows, recovery, kept=kept, special=job.tokenizer.all_special_ids,
            answers=partial(answers_of, job.kind, self._baseline, rows, job.device, self._run.progress.part),
            device=job.device, engine=job.engine,
        ) as objective:  # fmt: skip
            trained = train(
                job.kind, model, rows, objective, recovery,
                seed=self._run.seed, device=job.device, on_step=self._on_step, hooks=hooks,
                engine=job.engine,
            )  # fmt: skip
        return trained.steps

    def _score(self, answers: np.ndarray) -> float | None:
        job = self._run.job
        assert job.data is not None
        metric = job.kind.slice_metric(job.data.metrics[0])
        gold, guess = job.kind.judged(metric, answers, self._held, self._answers)
        return metrics.score((metric,), gold, guess, job.metric_labels).values[metric]

    def _on_step(self, step: Step) -> None:
        now = time.perf_counter()
        if self._done < self._expected:
            self._done += 1
            told = Step(self._done, self._expected, step.epoch, step.loss)
            self._run.progress.step(Stage.PLANNING, told, now - self._last)
        else:  # more than was expected
            self._run.progress.part(step.number, step.total)
        self._last = now

    def _jump(self, steps: int) -> None:
        """That many steps need not be taken."""
        before, self._done = self._done, min(self._expected, self._done + steps)
        if self._done > before:
            self._run.progress.jump(Stage.PLANNING, before, self._done, self._expected)
