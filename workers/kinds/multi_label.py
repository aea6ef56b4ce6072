"""Any number of labels a row: each is a yes or a no of its own."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from api_schemas.recovery import Recovery
from workers.data.features import Features
from workers.kinds.kind import Array, Kind
from workers.runtime.loading import Head


class MultiLabel(Kind):
    form = "yes_or_no"

    @property
    def head(self) -> Head:
        return Head(self.row.auto_class, self.labels, "multi_label_classification")

    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(values, gold)

    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        """KL divergence of each label's yes and no, at the temperature, as for one label; the sum over the labels."""
        t = recovery.temperature
        cross = F.binary_cross_entropy_with_logits(values / t, (aim / t).sigmoid(), reduction="none")
        own = F.binary_cross_entropy_with_logits(aim / t, (aim / t).sigmoid(), reduction="none")
        return (cross - own).sum(dim=-1).mean() * t**2

    def known(self, gold: Tensor) -> Tensor:
        return ~gold[:, 0].isnan()

    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        """0 and 1, int64 ``(N, C)``: a label is given where it is likelier than not."""
        return features.labels.astype(np.int64), (answers > 0).astype(np.int64)


KIND = MultiLabel
