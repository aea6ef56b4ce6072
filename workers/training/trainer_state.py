"""The numbers of a training: of one step, so far, and in the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from api_schemas.recovery import Recovery
from workers.training.cpu import EngineName


@dataclass(frozen=True)
class Step:
    """An optimizer step that is done. ``number`` counts from 1; ``loss`` is the running mean."""

    number: int
    total: int
    epoch: float
    loss: float


@dataclass
class TrainerState:
    """A training so far. ``factor`` is of the learning rate; ``rows`` is how many are computed at a time.

    Tokens leave padding out; seconds are those of all attempts. ``best_score`` is the best on held-out rows so far,
    after ``best_epoch`` epochs; None where nothing is held out.
    """

    factor: float
    rows: int
    step: int = 0
    loss: float = 0.0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_epoch: float | None = None

    def add(self, loss: float, examples: int, tokens: int) -> None:
        """One more step; the loss is a mean over about the last fifty."""
        self.step += 1
        self.loss += (loss - self.loss) * max(0.02, 1 / self.step)
        self.examples += examples
        self.tokens += tokens


@dataclass(frozen=True)
class TrainResult:
    """What a training took. Tokens leave padding out. ``micro_batch`` rows were computed at a time.

    ``engine`` is what computed. ``word_embeddings``: whether they were trained as well. ``best_score`` and
    ``best_epoch``: of the weights that were kept, where they were chosen.
    """

    steps: int
    examples: int
    tokens: int
    seconds: float
    loss: float
    precision: str
    learning_rate: float
    micro_batch: int
    engine: EngineName
    word_embeddings: bool
    best_score: float | None
    best_epoch: float | None

    @classmethod
    def of(cls, state: TrainerState, recovery: Recovery, *, engine: EngineName, words: bool) -> TrainResult:
        return cls(
            steps=state.step,
            examples=state.examples,
            tokens=state.tokens,
            seconds=state.seconds,
            loss=state.loss,
            precision=recovery.precision,
            learning_rate=recovery.learning_rate,
            micro_batch=state.rows,
            engine=engine,
            word_embeddings=words,
            best_score=state.best_score,
            best_epoch=state.best_epoch,
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "examples_per_second": self.examples / max(self.seconds, 1e-9)}
