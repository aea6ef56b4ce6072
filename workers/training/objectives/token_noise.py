"""Words that are replaced by others: with a teacher that answers whatever it is asked, every epoch has new examples."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from workers.data.batches import Inputs
from workers.data.features import Features


class Noise:
    """Replaces each token with the probability ``share`` by one drawn from all tokens of ``features``.

    Common words come as often as they do in the data. ``special`` ids stand as they are, and are never drawn. Draws
    are torch's, so that seeds and checkpoints hold.
    """

    def __init__(self, share: float, features: Features, special: Collection[int], device: torch.device) -> None:
        self._share = share
        ids = np.asarray(features.ids)
        self._words = torch.from_numpy(ids[~np.isin(ids, list(special))].astype(np.int64)).to(device)
        self._special = torch.tensor(sorted(special), device=device)

    def __call__(self, inputs: Inputs) -> Inputs:
        ids = inputs["input_ids"]
        hit = torch.rand(ids.shape, device=ids.device) < self._share
        hit &= ~torch.isin(ids, self._special) & inputs["attention_mask"].bool()
        return {**inputs, "input_ids": torch.where(hit, self._drawn(ids), ids)}

    def _drawn(self, ids: Tensor) -> Tensor:
        return self._words[torch.randint(len(self._words), ids.shape, device=ids.device)]
