"""A rate lets a burst through, then one at a time, and keeps little of whoever asks."""

from __future__ import annotations

import pytest

from service.rates import Rate, Rates


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_one_at_a_time() -> None:
    clock = Clock()
    rates, rate = Rates(clock=clock), Rate(per_minute=60, burst=3)
    assert [rates.take("a", rate).left for _ in range(3)] == [2, 1, 0]
    refused = rates.take("a", rate)
    assert refused.wait == pytest.approx(1.0)
    assert rates.take("b", rate).wait == 0, "each for itself"
    clock.now += refused.wait
    assert rates.take("a", rate).wait == 0
    assert rates.take("a", rate).wait > 0
    clock.now += 60
    assert rates.take("a", rate).left == 2


def test_what_is_given_back_may_be_taken_again() -> None:
    rates, rate = Rates(clock=Clock()), Rate(per_minute=60, burst=1)
    for _ in range(3):
        assert rates.take("a", rate).wait == 0
        rates.give_back("a", rate)
    assert rates.take("a", rate).wait == 0
    assert rates.take("a", rate).wait > 0


def test_of_many_who_ask_the_latest_are_known() -> None:
    rates, rate = Rates(most=10, clock=Clock()), Rate(per_minute=60, burst=1)
    for number in range(1000):
        rates.take(str(number), rate)
    assert len(rates) == 10
    assert rates.take("999", rate).wait > 0
