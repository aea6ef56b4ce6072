"""A vector a text, learnt from the source's own: no label is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.recovery import Recovery
from workers.data.batches import Inputs
from workers.data.features import Features
from workers.kinds.kind import PAIRS, Answer, Array, Kind, KindInputs
from workers.runtime.loading import Head, load_base
from workers.runtime.sentence_modules import SentenceModules
from workers.search.distances import cosines
from workers.search.neighbours import shared_neighbours


class Embedding(Kind):
    form = "vector"

    def __init__(self, given: KindInputs) -> None:
        super().__init__(given)
        assert given.folder is not None
        self._pooling = SentenceModules(given.folder, given.device, given.prompt)

    @property
    def head(self) -> Head:
        return Head(self.row.auto_class)

    def load(
        self,
        folder: Path,
        facts: ModelFacts,
        *,
        seed: int,
        order: list[int] | None = None,
        pad_token: int | None = None,
        warnings: list[str] | None = None,
    ) -> PreTrainedModel:
        return load_base(folder, facts, warnings)

    def answer(self, model: PreTrainedModel, inputs: Inputs, *, hidden: bool = False) -> Answer:
        """``(B, D)`` vectors, as the folder's own modules make them."""
        output = model.base_model(**inputs, output_hidden_states=hidden)
        states = output.last_hidden_state.float()
        with torch.autocast(states.device.type, enabled=False):
            vectors = self._pooling(states, inputs["attention_mask"])
        return Answer(vectors, output.hidden_states if hidden else ())

    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        """There are no labels. What `taylor` goes by is the vector along a random direction, the same for all texts:
        how far that moves without a layer tells, to first order, how far the vector does.
        """
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(values.shape[1], generator=draw).to(values.device)
        return (values @ F.normalize(direction, dim=0)).mean()

    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        """1 - cosine; or the squared distance, as a share of the teacher's own squared length."""
        if recovery.vector_loss == "cosine":
            return (1 - F.cosine_similarity(values, aim, dim=-1)).mean()
        return ((values - aim).pow(2).sum(1) / aim.pow(2).sum(1).clamp_min(1e-9)).mean()

    def known(self, gold: Tensor) -> Tensor:
        return torch.zeros(len(gold), dtype=torch.bool, device=gold.device)

    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        """Of pairs: their numbers, and the cosines of their vectors. Else ones, and what each text keeps: the cosine of
        its vector and the teacher's, or the share of its nearest neighbours.
        """
        if metric == "spearman":
            return features.labels[::2], cosines(answers[::2], answers[1::2])
        assert reference is not None
        kept = shared_neighbours(reference, answers) if metric == "neighbours" else cosines(reference, answers)
        return np.ones(len(kept)), kept

    def judged_rows(self, metric: str, features: Features) -> int:
        return len(features) // 2 if metric == "spearman" else len(features)

    def scores(self, metric: str, split: str) -> bool:
        return (metric == "spearman") == (split == PAIRS)

    def slice_metric(self, score: str) -> str:
        return "cosine"


KIND = Embedding
