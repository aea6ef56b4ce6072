"""Scores of several seeds, where one has none; and how they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sources.cached_files import Unusable
from tests.support.scored import scores
from workers.evaluation.by_seed import ScoresBySeed, from_tensors, to_tensors
from workers.evaluation.metrics import MetricLabels
from workers.stages.cache_codecs import load_scores, save_scores

GOLD = np.arange(9.0)
SCORED = scores("pearson", GOLD, GOLD, MetricLabels())
UNDEFINED = scores("pearson", GOLD, np.ones(9), MetricLabels())


def test_a_mean_with_a_score_that_is_not_defined_is_not_defined() -> None:
    found = ScoresBySeed({1: SCORED, 2: UNDEFINED})
    assert (found.spread.mean, found.spread.std) == (None, None)
    assert found.spread.by_seed == {1: SCORED.score, 2: None}
    assert found.metrics == {"pearson": None}
    assert found.undefined == {"pearson": "the model answers every row alike"}


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    tensors, facts = to_tensors((SCORED, UNDEFINED))
    before, after = from_tensors(tensors, json.loads(json.dumps(facts, allow_nan=False)))
    save_scores(UNDEFINED, tmp_path)
    for kept in (after, load_scores(tmp_path)):
        assert (kept.score, kept.metrics, kept.undefined) == (None, {"pearson": None}, UNDEFINED.undefined)
        assert np.array_equal(kept.guess, UNDEFINED.guess)
    assert before is not None
    assert before.score == SCORED.score


def test_answers_that_are_no_numbers_are_kept_where_they_have_no_score(tmp_path: Path) -> None:
    broken = scores("pearson", GOLD, np.full(9, np.nan), MetricLabels())
    save_scores(broken, tmp_path)
    kept = load_scores(tmp_path)
    assert (kept.score, kept.undefined) == (None, broken.undefined)
    assert np.isnan(kept.guess).all()

    save_scores(replace(broken, score=90.0), tmp_path)
    with pytest.raises(Unusable, match="not finite"):
        load_scores(tmp_path)
