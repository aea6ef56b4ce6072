"""What passes is waited for, with pauses that grow and a bound; what does not is raised at once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from api_schemas.errors import LayercutError
from workers.supervision.retries import FIRST_SECONDS, LONGEST_SECONDS, Pauses, persist, told

AWAY = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
FULL = OSError(errno.ENOSPC, "no room")


class Work:
    """Raises ``errors``, one a call, and then answers 42."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.heard: list[str] = []
        self.waited: list[float] = []

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 42

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return False

    def hear(self, error: LayercutError) -> None:
        self.heard.append(error.code)

    def persist(self, wait: Callable[[float], bool] | None = None, seconds: float = 60.0) -> int:
        return persist(self, wait or self.wait, "work", tell=self.hear, seconds=seconds)


def test_what_passes_is_tried_again_and_told_once() -> None:
    work = Work(AWAY, AWAY, AWAY)
    assert work.persist() == 42
    assert (work.calls, work.heard) == (4, ["storage_unavailable"])
    assert work.waited == sorted(work.waited)


def test_pauses_grow_to_a_bound_and_differ() -> None:
    pauses = Pauses()
    found = [pauses.next() for _ in range(20)]
    assert FIRST_SECONDS / 2 <= found[0] <= FIRST_SECONDS
    assert all(LONGEST_SECONDS / 2 <= pause <= LONGEST_SECONDS for pause in found[7:])
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), LayercutError("dataset_invalid", "no rows")])
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        work.persist()
    assert (work.calls, work.heard) == (1, [])


def test_nobody_waits_for_a_disk_to_become_empty() -> None:
    work = Work(FULL)
    with pytest.raises(LayercutError) as raised:
        work.persist()
    assert (raised.value.code, work.calls) == ("storage_full", 1)


@pytest.mark.parametrize(("gives_up", "seconds"), [(True, 60.0), (False, 0.0)])
def test_it_is_given_up_when_nobody_waits_or_the_time_is_over(gives_up: bool, seconds: float) -> None:
    work = Work(*[AWAY] * 9)
    with pytest.raises(LayercutError) as raised:
        work.persist(lambda _: gives_up, seconds)
    assert (raised.value.code, work.calls) == ("storage_unavailable", 1)


def test_of_a_fault_of_ours_a_user_hears_no_path() -> None:
    error = told(FileNotFoundError(errno.ENOENT, "No such file", "/var/lib/layercut/x"), "publishing")
    assert (error.code, "/var" in error.message) == ("internal", False)
    assert "publishing met an error that nobody foresaw (FileNotFoundError)" in error.message
