"""How a pruned model learns from its baseline: what is altered, what is asked, what is compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from api_schemas.recovery import Recovery
from workers.data.features import Features
from workers.kinds.kind import Kind
from workers.runtime.device import choose_precision
from workers.training.objectives.losses import TrainingObjective, distillation_objective, unaltered
from workers.training.objectives.teacher import hidden_pairs, known_targets, live_targets
from workers.training.objectives.token_noise import Noise


@contextmanager
def distillation(
    kind: Kind,
    baseline: PreTrainedModel,
    features: Features,
    recovery: Recovery,
    *,
    kept: Sequence[int],
    special: Collection[int],
    answers: Callable[[], npt.NDArray[np.float32]],
    device: torch.device,
    engine: bool = True,
) -> Iterator[TrainingObjective]:
    """The objective of a model that has the layers ``kept`` of ``baseline`` and learns on the rows of ``features``.

    Its word embeddings are the baseline's and stay so, unless the layer that is used to them was dropped.

    ``special`` token ids are never noise. Where answers are all that is learnt, those are the baseline's
    ``answers()`` to all places of ``features``; else it answers every batch, in the recovery's precision, with or
    without the CPU ``engine``.
    """
    pairs = hidden_pairs(kept, baseline.config.num_hidden_layers) if recovery.hidden_weight else []
    words = kept[0] > 0
    if not pairs and not recovery.noise:
        targets = known_targets(answers(), features, device)
        yield distillation_objective(kind, targets, pairs, features, recovery, device=device, words=words)
        return
    alter = Noise(recovery.noise, features, special, device) if recovery.noise else unaltered
    precision = choose_precision(recovery.precision, device)
    left = features.padding.left
    with live_targets(kind, baseline, pairs, device=device, precision=precision, left=left, engine=engine) as targets:
        yield distillation_objective(kind, targets, pairs, features, recovery, device=device, alter=alter, words=words)
