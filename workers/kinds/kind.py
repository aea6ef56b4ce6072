"""What a job asks of its task's kind. Everything else in ``workers`` is the same for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.recovery import Recovery
from api_schemas.task_kinds import TaskKind
from workers.data.batches import Inputs
from workers.data.features import Features, LabelShape
from workers.runtime.loading import Head, load_for_task
from workers.search.distances import DISTANCES

Array = npt.NDArray[Any]
CPU = torch.device("cpu")
#: The split of ``task.pairs``: rows 2i and 2i + 1 are the texts of pair i, and both have its number.
PAIRS = "pairs"


@dataclass(frozen=True)
class Answer:
    """What a model says of a batch: ``values`` ``(U, …)`` float32, one for each place (a row; or a token that is not
    padding, row after row), and where they were asked for the embeddings and every layer's output.
    """

    values: Tensor
    hidden: Sequence[Tensor] = ()


@dataclass(frozen=True)
class KindInputs:
    """What a kind is made of, on one job. ``folder`` is the model's; ``device`` where answers are computed.

    ``labels`` are names in id order. ``mean`` is that of the numbers to learn. ``prompt``: see
    ``prompt_tokens``.
    """

    row: TaskKind
    labels: tuple[str, ...] = ()
    mean: float = 0.0
    folder: Path | None = None
    device: torch.device = CPU
    prompt: int = 0


class Kind(ABC):
    """One kind of task, on one job. ``form``: of its answers, a row of the tables of distances."""

    form: ClassVar[Literal["classes", "number", "yes_or_no", "vector"]]

    def __init__(self, given: KindInputs) -> None:
        self.row, self.labels, self.mean = given.row, given.labels, given.mean
        self.shape = LabelShape(given.row.labels, len(given.labels))

    @property
    @abstractmethod
    def head(self) -> Head:
        """What a model is loaded with, to learn this task."""

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
        """The source as it is trained: in float32, its head drawn with ``seed`` where it has none for the task."""
        return load_for_task(
            folder, self.head, seed=seed, order=order, mean=self.mean, pad_token=pad_token, warnings=warnings
        )

    def answer(self, model: PreTrainedModel, inputs: Inputs, *, hidden: bool = False) -> Answer:
        """``inputs`` are ``B`` rows padded to ``L`` tokens."""
        output = model(**inputs, output_hidden_states=hidden)
        return Answer(output.logits.float(), output.hidden_states if hidden else ())

    @abstractmethod
    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        """The mean loss of ``values`` ``(U, …)`` on gold labels ``(U, …)``, all of them known."""

    @abstractmethod
    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        """How far ``values`` are from the teacher's, ``aim``: the mean over ``(U, …)``."""

    def answered(self, gold: Tensor) -> Tensor | None:
        """Which of the places are answered at all, bool ``(U,)``; None where all are."""
        return None

    @abstractmethod
    def known(self, gold: Tensor) -> Tensor:
        """Of which places somebody gave the label, bool ``(U,)``."""

    @abstractmethod
    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        """Gold and guess of each row, ``(N, …)``, as ``metric`` takes them. ``answers`` are a model's to all places of
        ``features``, ``reference`` the teacher's own, where the kind is judged by it.
        """

    def scores(self, metric: str, split: str) -> bool:
        """Whether ``metric`` is taken on ``split``."""
        return True

    def judged_rows(self, metric: str, features: Features) -> int:
        """How many rows ``judged`` gives."""
        return len(features)

    def slice_metric(self, score: str) -> str:
        """What training rows that are held out are judged by, where ``score`` is the task's headline."""
        return score

    def needs_reference(self, split: str) -> bool:
        """Whether a model is judged on ``split`` by the answers of the one before it."""
        return self.row.teacher == "source" and split != PAIRS

    def distances(self, reference: Array, answers: Array, features: Features) -> npt.NDArray[np.float64]:
        """How far the answers of a candidate are from the teacher's, one number a row ``(N,)``."""
        return DISTANCES[self.form](reference, answers)
