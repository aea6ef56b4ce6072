"""What the things that a job makes are named by in the cache; worked out where a thing is asked for."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from transformers import PreTrainedModel

from api_schemas.pruning import PruneSpec
from sources.fingerprint import NOT_OF_BASELINE, fingerprint
from sources.importance import Asked, importance_fingerprint, search_fingerprint
from workers.runtime.device import describe
from workers.stages.resolved_job import ResolvedJob
from workers.training.trainer_state import TrainResult

#: Of a config: where the model came from, and what its answers are called.
NOT_OF_SHAPE = frozenset({"_name_or_path", "architectures", "id2label", "label2id", "problem_type"})


def source(job: ResolvedJob, seed: int) -> str:
    """Of the source as ``job.load`` gives it: the seed has drawn its head."""
    parts: dict[str, Any] = {"weights": job.content.weights, "texts": job.content.texts}
    if job.trains:
        assert job.data is not None
        parts |= {
            "labels": job.data.label_names, "order": job.head_order, "task": job.data.kind, "seed": seed,
            "mean": job.data.label_mean,
        }  # fmt: skip
    return _of(job, "source", trains=job.trains, **parts)


def baseline(job: ResolvedJob, seed: int) -> str:
    """The strategy, and what only the recovery reads, are no part of it: jobs that differ in these share it."""
    if job.kind.row.teacher == "source":
        return source(job, seed=0)
    return _of(
        job,
        "baseline",
        source=source(job, seed),
        train=job.content.splits["train"],
        recovery=job.recovery.of_baseline().model_dump(exclude=set(NOT_OF_BASELINE)),
        seed=seed,
        engine=job.engine,
        told=[field.name for field in fields(TrainResult)],
    )


def baseline_answers(job: ResolvedJob, seed: int, split: str) -> str:
    """``split``: of dev, or another name for all that is learnt from."""
    read = job.content.splits.get(f"dev:{split}") or [job.content.splits.get(name) for name in ("train", "text")]
    return _of(job, "baseline_logits", baseline=baseline(job, seed), rows=read)


def baseline_scores(job: ResolvedJob, seed: int) -> str:
    """Of the scores on dev of the model before: the baseline, or the source where nothing is trained."""
    assert job.data is not None
    return _of(
        job,
        "baseline_scores",
        model=baseline(job, seed) if job.wants_baseline else source(job, seed),
        dev=[job.content.splits[f"dev:{split}"] for split in job.dev],
        splits=list(job.dev),
        metrics=job.data.metrics,
        labels=job.data.label_names,
        order=job.label_order,
        positive=job.data.positive,
    )


def importance(job: ResolvedJob, spec: PruneSpec) -> str | None:
    """Of what the strategy of ``spec`` ranks the job's layers by; None where it cannot be shared."""
    asked = replace(Asked.by_job(job.request), prune=spec)
    return importance_fingerprint(asked, job.facts, job.content.identities)


def search(job: ResolvedJob) -> str | None:
    """Of what `auto` is asked; None where it cannot be shared."""
    return search_fingerprint(Asked.by_job(job.request), job.facts, job.content.identities)


def latency(job: ResolvedJob, models: Sequence[PreTrainedModel]) -> str:
    """Of how long ``models`` take: it hangs on their shapes, not on what their weights are, and on the host; and on the
    day, for what else runs there changes.
    """
    return _of(
        job,
        "latency",
        models=[_shape(model) for model in models],
        cells=job.latency_cells,
        host=platform.node(),
        machine=describe(job.device).model_dump(mode="json"),
        day=today(),
    )


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _shape(model: PreTrainedModel) -> dict[str, Any]:
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in NOT_OF_SHAPE}
    tensors = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in model.named_parameters()]
    attention = model.config._attn_implementation
    return {"class": type(model).__name__, "config": config, "attention": attention, "tensors": tensors}


def _of(job: ResolvedJob, kind: str, **parts: Any) -> str:
    return fingerprint(kind, device=job.device.type, **parts)
