"""What is asked and answered at once, by a real gateway: typed, and once however often it is sent."""

from __future__ import annotations

import inspect

import pytest

from api_schemas.jobs import Job, Status
from api_schemas.pruning import PruneSpec
from api_schemas.requests import JobRequest
from layercut.client import AsyncClient, Client, LayercutApiError
from tests.support.cut_proxy import CutProxy
from tests.support.live_gateway import LiveGateway


def test_a_job_is_submitted_as_a_model_a_mapping_or_fields(client: Client, gateway: LiveGateway) -> None:
    body = gateway.body(priority=3, metadata={"team": "a"})
    jobs = [
        client.submit(JobRequest.model_validate(body)),
        client.submit(body),
        client.submit(**body),
        client.submit(gateway.body(), priority=3, metadata={"team": "a"}),
        client.submit(model=gateway.model, task="none", prune=PruneSpec(strategy="top", drop=2), priority=3),
    ]
    assert all(isinstance(job, Job) and job.status is Status.QUEUED and job.priority == 3 for job in jobs)
    assert len({job.id for job in jobs}) == 5
    assert len({job.resolved.plan.model_dump_json() for job in jobs if job.resolved and job.resolved.plan}) == 1


def test_what_it_would_be_and_what_would_go(client: Client, gateway: LiveGateway) -> None:
    before = [job.id for job in client.list()]
    assert client.validate(gateway.body()).resolved.plan
    plan = client.plan(model=str(gateway.model), prune={"strategy": "top", "drop": 2})
    assert plan.dropped == [4, 5]
    assert [job.id for job in client.list()] == before


def test_lists_go_through_all_pages_and_filter(
    client: Client, gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercut.client.calls.MOST", 2)
    made = [client.submit(gateway.body(metadata={"list": "one"})).id for _ in range(5)]
    client.submit(gateway.body(metadata={"list": "two"}))
    client.cancel(made[0])
    newest_first = [job.id for job in client.list(metadata={"list": "one"})]
    assert newest_first == made[::-1]
    assert [job.id for job in client.list(metadata={"list": "one"}, limit=3)] == made[:1:-1]
    assert [job.id for job in client.list(metadata={"list": "one"}, status="cancelled")] == [made[0]]
    assert [job.id for job in client.list(metadata={"list": "one"}, status=["queued", "failed"])] == made[:0:-1]


def test_cancel_retry_and_delete(client: Client, gateway: LiveGateway) -> None:
    job = client.submit(gateway.body(metadata={"of": "lifecycle"}))
    assert client.cancel(job.id).status is Status.CANCELLED
    assert client.retry(job.id).status is Status.QUEUED
    assert client.cancel_all(metadata={"of": "lifecycle"}).cancelled == 1
    client.delete(job.id)
    with pytest.raises(LayercutApiError) as refused:
        client.get(job.id)
    assert (refused.value.status, refused.value.code) == (404, "job_not_found")


def test_the_catalog_and_the_limits(client: Client) -> None:
    assert "top" in [row.name for row in client.strategies().data]
    assert "sst2" in [row.name for row in client.tasks().data]
    assert "bert" in [row.name for row in client.architectures().data]
    assert client.limits().data
    assert client.workers().data == []


def test_a_refusal_has_its_code_its_fields_and_its_request_id(client: Client, gateway: LiveGateway) -> None:
    with pytest.raises(LayercutApiError) as refused:
        client.submit(gateway.body(prune={"drop": 13}))
    error = refused.value
    assert (error.status, error.code, error.errors[0].pointer) == (422, "invalid_layers", "/prune/drop")
    assert "at most 5, not 13" in error.detail
    assert error.request_id
    assert error.detail in str(error)


def test_an_id_is_one_segment_whatever_is_in_it(client: Client) -> None:
    for id in ("../limits", "a/../../limits", "x?y=1", "%2e%2e"):
        with pytest.raises(LayercutApiError) as refused:
            client.report(id)
        assert refused.value.status == 404


def test_a_submit_whose_answer_is_lost_is_one_job(far: Client, proxy: CutProxy, gateway: LiveGateway) -> None:
    assert far.limits()
    # The connection that is kept is gone, and of the next two the answer breaks off.
    proxy.cut_after(10, 60)
    proxy.cut()
    job = far.submit(gateway.body(metadata={"lost": str(proxy.port)}))
    assert [found.id for found in far.list(metadata={"lost": str(proxy.port)})] == [job.id]
    assert proxy.connections >= 3


def test_a_key_of_ones_own_makes_two_calls_one_job(client: Client, gateway: LiveGateway) -> None:
    first = client.submit(gateway.body(), idempotency_key="nightly")
    assert client.submit(gateway.body(), idempotency_key="nightly").id == first.id


def test_both_clients_can_do_the_same() -> None:
    def shape(kind: type) -> dict[str, object]:
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
            for name, method in vars(kind).items()
            if inspect.isfunction(method) and not name.startswith("_") and name not in ("close", "aclose")
        }

    assert shape(Client) == shape(AsyncClient)
    assert len(shape(Client)) > 25
