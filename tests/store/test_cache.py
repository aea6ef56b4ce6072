"""The cache's rows: one maker, the others wait; a lost maker is followed by another; the least used goes first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, update

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.cache import CacheStore, Have, Make, Wait
from store.columns import later
from store.jobs import JobStore, Lease
from store.tables import cache as cache_table
from tests.support.store_samples import FAILED, Submit

FINGERPRINT = "f" * 64
KIND = "baseline"


@pytest.fixture
def cache(engine: Engine) -> CacheStore:
    return CacheStore(engine)


@pytest.fixture
def start(store: JobStore, submit: Submit) -> Callable[[], Lease]:
    """A running job's lease."""

    def claim() -> Lease:
        submit()
        claimed = store.claim("worker")
        assert claimed is not None
        return claimed.lease

    return claim


Start = Callable[[], Lease]


def make(cache: CacheStore, lease: Lease, fingerprint: str, size: int) -> str:
    found = cache.take(lease, KIND, fingerprint)
    assert isinstance(found, Make)
    assert cache.made(lease, fingerprint, seconds=12.5, size=size)
    return found.prefix


def test_one_makes_the_others_wait_and_then_have(cache: CacheStore, start: Start) -> None:
    maker, other = start(), start()
    found = cache.take(maker, KIND, FINGERPRINT)
    assert isinstance(found, Make)
    assert found.prefix.startswith(f"cache/baseline/{FINGERPRINT}/")
    assert cache.take(other, KIND, FINGERPRINT) == Wait(maker.job_id)
    assert cache.take(maker, KIND, FINGERPRINT) == found, "asked twice, it does not wait for itself"

    assert cache.made(maker, FINGERPRINT, seconds=12.5, size=7)
    assert cache.take(other, KIND, FINGERPRINT) == Have(found.prefix, 12.5, maker.job_id)
    assert cache.take(maker, KIND, FINGERPRINT) == Have(found.prefix, 12.5, maker.job_id)


def test_many_who_ask_at_once_get_one_maker(cache: CacheStore, start: Start) -> None:
    leases = [start() for _ in range(8)]
    together = Barrier(len(leases))

    def ask(lease: Lease) -> Have | Make | Wait:
        together.wait()
        return cache.take(lease, KIND, FINGERPRINT)

    with ThreadPoolExecutor(len(leases)) as threads:
        answers = list(threads.map(ask, leases))
    assert sorted(type(answer).__name__ for answer in answers) == ["Make"] + ["Wait"] * 7


def _released(store: JobStore, lease: Lease) -> None:
    store.release(lease, "the runner was killed")


def _failed(store: JobStore, lease: Lease) -> None:
    store.finish(lease, FAILED)


def cleared(cache: CacheStore, max_bytes: int) -> list[str]:
    """What was evicted, once its files are deleted."""
    gone = cache.evict(max_bytes)
    for prefix in gone:
        cache.deleted(prefix)
    return gone


def _claimed_again(store: JobStore, lease: Lease) -> None:
    store.release(lease, "the runner was killed")
    again = store.claim("another")
    assert again is not None
    assert again.lease.job_id == lease.job_id


@pytest.mark.parametrize("end", [_released, _failed, _claimed_again])
def test_when_the_makers_attempt_ends_the_next_to_ask_makes_it(
    end: Callable[[JobStore, Lease], None], cache: CacheStore, store: JobStore, start: Start
) -> None:
    maker, other = start(), start()
    first = cache.take(maker, KIND, FINGERPRINT)
    assert isinstance(first, Make)
    end(store, maker)
    taken = cache.take(other, KIND, FINGERPRINT)
    assert isinstance(taken, Make)
    assert taken.prefix != first.prefix
    assert not cache.made(maker, FINGERPRINT, seconds=1, size=1), "it is no longer the first maker's to give"
    cache.abandon(maker, FINGERPRINT, first.prefix)
    assert cache.made(other, FINGERPRINT, seconds=2, size=1)
    assert cache.evict(1) == [first.prefix]
    found = cache.take(start(), KIND, FINGERPRINT)
    assert isinstance(found, Have)
    assert found.prefix == taken.prefix


def test_a_maker_whose_lease_ran_out_is_lost_before_anyone_reaps_it(
    cache: CacheStore, start: Start, overdue: Callable[[str, str], None]
) -> None:
    maker, other = start(), start()
    cache.take(maker, KIND, FINGERPRINT)
    overdue(maker.job_id, "lease_expires_at")
    assert isinstance(cache.take(other, KIND, FINGERPRINT), Make)


def test_a_maker_that_gives_up_is_followed_at_once(cache: CacheStore, start: Start) -> None:
    maker, other = start(), start()
    first = cache.take(maker, KIND, FINGERPRINT)
    assert isinstance(first, Make)
    cache.abandon(maker, FINGERPRINT, first.prefix)
    taken = cache.take(other, KIND, FINGERPRINT)
    assert isinstance(taken, Make)
    assert cache.evict(0) == [first.prefix]
    assert taken.prefix != first.prefix, "what is deleted is nobody's place"


def test_what_was_made_outlives_its_maker_until_its_files_are_found_gone(
    cache: CacheStore, store: JobStore, start: Start
) -> None:
    maker, other = start(), start()
    prefix = make(cache, maker, FINGERPRINT, 7)
    store.finish(maker, FAILED)
    assert isinstance(cache.take(other, KIND, FINGERPRINT), Have)
    cache.forget(FINGERPRINT, f"{prefix}0")
    assert isinstance(cache.take(other, KIND, FINGERPRINT), Have), "another making's loss is not this one's"
    for _ in range(2):  # two that find it at once
        cache.forget(FINGERPRINT, prefix)
    assert cache.evict(1000) == [prefix], "of broken files some may be left"
    assert isinstance(cache.take(other, KIND, FINGERPRINT), Make)


def test_what_was_not_used_for_longest_goes_and_what_is_being_made_stays(
    engine: Engine, cache: CacheStore, start: Start
) -> None:
    maker, other = start(), start()
    prefixes = [make(cache, maker, letter * 64, 10) for letter in "abc"]
    cache.take(maker, KIND, FINGERPRINT)
    with engine.begin() as connection:
        for age, letter in ((30, "a"), (20, "b"), (10, "c")):
            old = update(cache_table).where(cache_table.c.fingerprint == letter * 64)
            connection.execute(old.values(used_at=later(-age)))
    assert cache.evict(30) == []
    assert isinstance(cache.take(other, KIND, "a" * 64), Have)  # the oldest is now the latest used
    assert cleared(cache, 20) == [prefixes[1]]
    assert cleared(cache, 0) in ([prefixes[0], prefixes[2]], [prefixes[2], prefixes[0]])
    assert cache.take(other, KIND, FINGERPRINT) == Wait(maker.job_id)
    assert isinstance(cache.take(other, KIND, "b" * 64), Make)


def test_what_a_lost_maker_left_is_swept(cache: CacheStore, store: JobStore, start: Start) -> None:
    maker = start()
    found = cache.take(maker, KIND, FINGERPRINT)
    assert isinstance(found, Make)
    assert cache.evict(1000) == []
    store.release(maker, "the runner was killed")
    for _ in range(2):
        assert cache.evict(1000) == [found.prefix], "until it is known that the files are deleted"
    cache.deleted(found.prefix)
    assert cache.evict(1000) == []


def test_files_that_cannot_be_deleted_keep_no_others_from_going(
    cache: CacheStore, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.cache.BATCH", 2)
    maker, stuck = start(), set()
    for letter in "abcde":
        make(cache, maker, letter * 64, 10)
    for _ in range(6):
        for prefix in cache.evict(0):
            cache.put_off(prefix)
            stuck.add(prefix)
    assert len(stuck) == 5


def test_lost_makings_do_not_keep_what_does_not_fit_from_going(
    cache: CacheStore, store: JobStore, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.cache.BATCH", 2)
    maker, lost = start(), start()
    prefix = make(cache, maker, FINGERPRINT, 10)
    for letter in "abcde":
        cache.take(lost, KIND, letter * 64)
    store.release(lost, "the runner was killed")

    cache.evict(0)
    assert cache.find(FINGERPRINT) is None
    assert len({gone for _ in range(4) for gone in cleared(cache, 0)} - {prefix}) == 5


def test_fetching_checks_what_it_brings(tmp_path: Path) -> None:
    artifacts = ArtifactStore(f"file://{tmp_path}/artifacts")
    (tmp_path / "made" / "sub").mkdir(parents=True)
    (tmp_path / "made" / "sub" / "a.npy").write_bytes(b"numbers" * 1000)
    artifacts.publish("cache/x", tmp_path / "made")
    artifacts.fetch("cache/x", tmp_path / "here")
    assert (tmp_path / "here" / "sub" / "a.npy").read_bytes() == b"numbers" * 1000

    (tmp_path / "artifacts" / "cache" / "x" / "sub" / "a.npy").write_bytes(b"numb3rs" * 1000)
    with pytest.raises(LayercutError, match="not the file that was published"):
        artifacts.fetch("cache/x", tmp_path / "there")
    artifacts.delete("cache/x")
    with pytest.raises(LayercutError) as caught:
        artifacts.fetch("cache/x", tmp_path / "nowhere")
    assert caught.value.code == "file_not_found"
