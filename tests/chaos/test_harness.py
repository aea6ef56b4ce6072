"""What `make chaos` draws: the same seed, the same faults and jobs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness.faults import FAULTS
from tests.chaos.harness.invariants import wrong_weights
from tests.chaos.harness.load import Load, Offers
from tests.chaos.harness.run import drawn
from tests.chaos.harness.runner import weights_of
from tests.chaos.harness.traffic import Traffic, Windows

pytestmark = pytest.mark.chaos


def faults(seed: int) -> list[tuple[str, float, float]]:
    rng = random.Random(seed)
    return [(fault.name, hold, gap) for fault, hold, gap, _ in (drawn(FAULTS, rng) for _ in range(300))]


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    made = Traffic(["http://127.0.0.1:9"], Windows())
    yield made
    made.close()


def jobs(traffic: Traffic, seed: int) -> list[tuple[str, str, dict[str, Any]]]:
    offers = Offers(keys=True, retry=True, delete=True, webhooks=True)
    load = Load(traffic, offers, Path("/inputs"), seed, clients=1, receiver="http://127.0.0.1:9")
    return [(job.kind, job.act, job.body) for job in (load.draw(number) for number in range(200))]


def test_the_same_seed_draws_the_same(traffic: Traffic) -> None:
    assert faults(7) == faults(7) != faults(8)
    assert jobs(traffic, 7) == jobs(traffic, 7) != jobs(traffic, 8)


def test_every_fault_is_drawn_sometime_and_each_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {name for seed in range(5) for name, *_ in faults(seed)} == set(names)


def test_weights_of_another_job_or_cut_short_are_seen() -> None:
    whole = weights_of("job_a", 100)
    assert list(wrong_weights(whole, "job_a", "quick")) == []
    assert list(wrong_weights(whole, "job_b", "quick")) == ["the weights are those of another job"]
    assert list(wrong_weights(whole[:-4], "job_a", "quick")) == ["the weights are not as long as their header says"]
