"""A number a row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from api_schemas.recovery import Recovery
from workers.data.features import Features
from workers.kinds.kind import Array, Kind
from workers.runtime.loading import Head


class Regression(Kind):
    form = "number"

    @property
    def head(self) -> Head:
        return Head(self.row.auto_class, (), "regression")

    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        return F.mse_loss(values.squeeze(-1), gold)

    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        return F.mse_loss(values, aim)

    def known(self, gold: Tensor) -> Tensor:
        return ~gold.isnan()

    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        return features.labels, answers[:, 0]


KIND = Regression
