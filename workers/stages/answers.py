"""The baseline's answers to rows: computed once, and read by all jobs that learn from it or are judged by it."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from sources.cached_files import Unusable
from workers.data.features import Features
from workers.evaluation.scores import answers_of
from workers.stages import fingerprints
from workers.stages.run_context import RunContext

#: The name of all rows that a pruned model learns from, where those of dev have the name of their split.
LEARNT = "learnt"


def baseline_answers(
    run: RunContext, baseline: PreTrainedModel, split: str, features: Features
) -> npt.NDArray[np.float32]:
    """To all places of ``features``, ``(U, …)``, in their order."""
    job = run.job
    run.progress.log(f"the baseline answers {len(features)} rows ({split})")
    answer = partial(answers_of, job.kind, baseline, features, job.device, run.progress.part)
    form = partial(_as_answers, places=len(features.labels), width=_width(run, baseline))
    fingerprint = fingerprints.baseline_answers(job, run.seed, split)
    return run.cache.share("baseline_logits", fingerprint, answer, form)


def _width(run: RunContext, baseline: PreTrainedModel) -> int | None:
    """Numbers of an answer; None where only the modules know."""
    return None if run.job.kind.row.labels is None else baseline.config.num_labels or 1


def _as_answers(found: npt.NDArray[np.float32], places: int, width: int | None) -> npt.NDArray[np.float32]:
    fits = found.ndim == 2 and found.dtype == np.float32
    if not fits or found.shape != (places, width or found.shape[1]):
        raise Unusable("baseline_logits", f"it is {found.dtype} {found.shape}, not of {places} places")
    return found
