"""Which layers go: as was planned when the job was accepted, or as what was measured since then says."""

from __future__ import annotations

from transformers import PreTrainedModel

from api_schemas.further import plan_job
from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from api_schemas.strategies import STRATEGIES
from workers.stages.layer_importance import importance_of
from workers.stages.run_context import RunContext
from workers.stages.search import search_layers


def choose_layers(run: RunContext, source: PreTrainedModel, baseline: PreTrainedModel | None) -> Plan:
    """The plan with its layers. One that names them already is carried out as it stands."""
    job, strategy = run.job, STRATEGIES[run.job.request.prune.strategy]
    pinned = job.request.plan
    assert pinned is not None
    if strategy.searches:
        assert baseline is not None
        return search_layers(run, baseline)
    importance = None
    if strategy.measure is None:
        run.progress.skip(Stage.SCORING, f"strategy {strategy.name} ranks no layers")
    else:
        with run.progress.stage(Stage.SCORING):
            importance = importance_of(run, job.request.prune, source, baseline)[strategy.measure]
    with run.progress.stage(Stage.PLANNING):
        if importance is None:
            plan = pinned
        else:
            start = job.request.start
            plan = plan_job(job.request.prune, job.facts, start, seed=job.request.seed, importance=importance)
            run.progress.resolved(job.shown(plan), "the layers are chosen")
        for warning in plan.warnings:
            run.progress.warn(warning)
    return plan
