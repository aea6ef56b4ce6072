"""One label a row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from api_schemas.recovery import Recovery
from workers.data.features import Features
from workers.kinds.kind import Array, Kind
from workers.runtime.loading import Head


def soft_cross_entropy(values: Tensor, aim: Tensor, temperature: float) -> Tensor:
    """KL divergence of ``(U, C)`` logits at ``temperature``, times its square so that the gradient keeps its size
    (Hinton et al. 2015, arXiv 1503.02531, §2.1).
    """
    pupil = F.log_softmax(values / temperature, dim=-1)
    wanted = F.log_softmax(aim / temperature, dim=-1)
    return F.kl_div(pupil, wanted, log_target=True, reduction="batchmean") * temperature**2


class Classification(Kind):
    form = "classes"

    @property
    def head(self) -> Head:
        return Head(self.row.auto_class, self.labels, "single_label_classification")

    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        return F.cross_entropy(values, gold)

    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        return soft_cross_entropy(values, aim, recovery.temperature)

    def known(self, gold: Tensor) -> Tensor:
        return gold >= 0

    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        return features.labels, answers.argmax(axis=1)


KIND = Classification
