"""Layers taken out of a model in memory."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from workers.pruning.surgery import drop_layers
from workers.stages.run_context import RunContext


def prune(run: RunContext, source: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """A copy with the layers gone; where nothing will change its weights, they are those of ``source``."""
    assert plan.kept is not None
    with run.progress.stage(Stage.PRUNING, seed=run.seed):
        shared = (*source.parameters(), *source.buffers()) if run.job.streams else ()
        pruned = copy.deepcopy(source, {id(weight): weight for weight in shared})
        drop_layers(pruned, run.job.architecture, plan.kept)
    return pruned
