"""Scores over several training seeds: their means, their spread, and how they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from api_schemas.reports import SeedScores
from workers.evaluation.scores import Scores

#: Of one seed, before (None where the job wants no baseline) and after.
Pair = tuple[Scores | None, Scores]

Side = Literal["before", "after"]

SIDES: tuple[Side, Side] = ("before", "after")


@dataclass(frozen=True)
class ScoresBySeed:
    """The scores of one side's models by seed, the exported one's first."""

    by_seed: dict[int, Scores]

    @property
    def metrics(self) -> dict[str, float | None]:
        """Means over the seeds; None where one seed's is not defined."""
        each = [scores.metrics for scores in self.by_seed.values()]
        return {name: _mean([found[name] for found in each]) for name in each[0]}

    @property
    def undefined(self) -> dict[str, str]:
        """The reason of the first seed that has one, for each metric that is None."""
        reasons: dict[str, str] = {}
        for scores in self.by_seed.values():
            reasons = scores.undefined | reasons
        return reasons

    @property
    def spread(self) -> SeedScores:
        scores = {seed: found.score for seed, found in self.by_seed.items()}
        values = [score for score in scores.values() if score is not None]
        std = float(np.std(values, ddof=1)) if len(scores) == len(values) > 1 else None
        return SeedScores(mean=_mean(list(scores.values())), std=std, by_seed=scores)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def sides_of(pairs: dict[int, Pair]) -> tuple[ScoresBySeed | None, ScoresBySeed]:
    before = {seed: pair[0] for seed, pair in pairs.items() if pair[0] is not None}
    return ScoresBySeed(before) if before else None, ScoresBySeed({seed: pair[1] for seed, pair in pairs.items()})


def to_tensors(pair: Pair) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """For a checkpoint: tensors, and JSON."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for side, scores in zip(SIDES, pair, strict=True):
        if scores is not None:
            tensors[f"{side}/gold"] = torch.from_numpy(np.array(scores.gold))
            tensors[f"{side}/guess"] = torch.from_numpy(np.array(scores.guess))
            facts[side] = {"score": scores.score, "metrics": scores.metrics, "undefined": scores.undefined}
    return tensors, facts


def from_tensors(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Pair:
    def one(side: str) -> Scores:
        return Scores(**facts[side], gold=tensors[f"{side}/gold"].numpy(), guess=tensors[f"{side}/guess"].numpy())

    return one("before") if "before" in facts else None, one("after")
