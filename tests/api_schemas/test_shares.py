"""Shares of a whole, as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.requests import JobRequest


def request(**parts: Any) -> JobRequest:
    return JobRequest.model_validate({"model": "acme/bert", "task": "rte", **parts})


@pytest.mark.parametrize("sent", ["33%", "33 %", "33.0%", 33, 33.0, 0.33])
def test_a_ratio_is_a_share_or_a_percentage(sent: str | float) -> None:
    found = request(prune={"drop_ratio": sent}).prune
    assert found.drop_ratio == 0.33
    assert found.model_dump(mode="json")["drop_ratio"] == 0.33, "what is shown is the number"


@pytest.mark.parametrize(
    ("sent", "share"),
    [("33.3%", 0.333), (33.3, 0.333), (50, 0.5), (2, 0.02), ("1%", 0.01), ("0.5%", 0.005), ("99.9 %", 0.999)],
)
def test_a_percentage_is_divided_as_decimals_are(sent: str | float, share: float) -> None:
    assert request(prune={"drop_ratio": sent}).prune.drop_ratio == share
    assert request(evaluation={"margin": sent}).evaluation.margin == share


def test_every_share_is_read_alike() -> None:
    auto = request(
        prune={"strategy": "auto", "objective": {"min_retention": "98 %"}},
        recovery={"warmup_ratio": 10, "noise": "15%", "label_weight": "100%"},
    )
    assert auto.prune.objective is not None
    assert auto.prune.objective.min_retention == 0.98
    assert (auto.recovery.warmup_ratio, auto.recovery.noise, auto.recovery.label_weight) == (0.1, 0.15, 1.0)
    halves = request(task="none", prune={"drop_ratio": {"encoder": "50%", "decoder": 25}}).prune.drop_ratio
    assert halves == {"encoder": 0.5, "decoder": 0.25}


def test_one_is_a_share_where_all_of_it_can_be_meant() -> None:
    objective = request(prune={"strategy": "auto", "objective": {"min_retention": 1}}).prune.objective
    assert objective is not None
    assert objective.min_retention == 1
    assert request(recovery={"label_weight": 1}).recovery.label_weight == 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (1, 'give "1%" or 0.01'), (1.5, "is no share above 0 and below 1"), (0, "is no share"), (-5, "is no share"),
        (100, "is no share"), ("100%", "is no share"), ("0%", "is no share"), ("0.33", "as a percentage"),
        ("a third", "'a third' is no share"), ("33,3%", "is no share"), ("33%%", "is no share"), ("", "is no share"),
        (True, "valid number"), (None, None), ("9" * 10_000 + "%", "is no share"),
    ],
)  # fmt: skip
def test_what_is_no_share_is_refused_with_how_to_write_one(sent: Any, words: str | None) -> None:
    if words is None:
        assert request(prune={"drop_ratio": sent}).prune.drop_ratio is None
        return
    with pytest.raises(ValidationError) as caught:
        request(prune={"drop_ratio": sent})
    assert words in caught.value.errors()[0]["msg"]
    assert len(caught.value.errors()[0]["msg"]) < 200


@pytest.mark.parametrize("sent", [1.02, 1.5, 101, 0])
def test_a_little_above_all_is_no_percentage(sent: float) -> None:
    with pytest.raises(ValidationError, match="min_retention"):
        request(prune={"strategy": "auto", "objective": {"min_retention": sent}})


def test_a_weight_is_no_percentage_without_its_sign() -> None:
    with pytest.raises(ValidationError, match="2 is no share from 0 and at most 1"):
        request(recovery={"label_weight": 2})
