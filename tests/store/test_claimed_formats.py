"""A worker claims no job that asks for a format which it cannot write; one that can does, and no attempt is lost."""

from __future__ import annotations

from api_schemas.formats import FORMATS, PLAIN
from store.jobs import JobStore
from tests.support.store_samples import Submit

ALL = list(FORMATS)


def test_who_cannot_write_a_format_takes_the_next_job_and_leaves_that_to_who_can(
    store: JobStore, submit: Submit
) -> None:
    graphs = submit(export={"formats": ["onnx-int8"]}, priority=1)
    plain = submit()
    claim = store.claim("small", formats=[PLAIN])
    assert claim is not None
    assert claim.lease.job_id == plain.id
    assert store.claim("small", formats=[PLAIN]) is None
    # Of a name that another one begins with, the one does not stand for the other.
    assert store.claim("other", formats=[PLAIN, "onnx"]) is None
    claim = store.claim("large", formats=ALL)
    assert claim is not None
    assert (claim.lease.job_id, claim.lease.attempt) == (graphs.id, 1)


def test_all_formats_of_a_job_are_written_by_one_worker(store: JobStore, submit: Submit) -> None:
    job = submit(export={"formats": ["onnx", "onnx-bf16"]})
    assert store.claim("one", formats=[PLAIN, "onnx"]) is None
    assert store.claim("two", formats=[PLAIN, "onnx-bf16"]) is None
    claim = store.claim("both", formats=[PLAIN, "onnx", "onnx-bf16"])
    assert claim is not None
    assert claim.lease.job_id == job.id


def test_who_does_not_tell_what_it_writes_takes_any(store: JobStore, submit: Submit) -> None:
    submit(export={"formats": ["onnx"]})
    assert store.claim("any") is not None
