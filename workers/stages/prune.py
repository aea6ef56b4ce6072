"""Layers taken out of a model in memory."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from workers.pruning.surgery import drop_layers
from workers.stages.run_context import RunContext


def prune(run: RunContext, source: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """A copy with the layers gone; where nothing will change its weights, they are those of ``source``. What an earlier
    job left of it is cut itself, as nobody else reads it.
    """
    job = run.job
    assert plan.kept is not None
    left = job.cut_layers(plan.kept)
    if job.start is not None and len(left) == job.cut_facts.layers:
        run.progress.skip(Stage.PRUNING, f"no layer goes beside those that {job.start.pinned.job} dropped")
        return source
    with run.progress.stage(Stage.PRUNING, seed=run.seed):
        shared = (*source.parameters(), *source.buffers()) if job.streams else ()
        own = job.start is not None
        pruned = source if own else copy.deepcopy(source, {id(weight): weight for weight in shared})
        drop_layers(pruned, job.architecture, left)
    return pruned
