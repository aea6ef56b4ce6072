"""`layercut paper` as it is typed, against a real gateway; a thread of the test is the worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api_schemas.event_types import EventType
from store.jobs import Claim
from tests.support.events import say
from tests.support.gateway_process import free_port
from tests.support.gateway_worker import succeed
from tests.support.live_gateway import LiveGateway, live_gateway

Layercut = Callable[..., Any]


@contextmanager
def working(gateway: LiveGateway, do: Callable[[Claim], object]) -> Iterator[None]:
    """Whatever waits is done."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            while (taken := gateway.state.store.claim("worker-1")) is not None:
                do(taken)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def grid(gateway: LiveGateway, *more: object) -> list[object]:
    return ["paper", "--model", gateway.model, "--tasks", "rte", "--drops", "2", "--strategies", "top", *more]


def test_options_that_do_not_go_together(layercut: Layercut) -> None:
    assert "its own grid" in layercut("paper", "--study", "study_1", "--rows", "10", code=2).told
    assert "one of --markdown and --json" in layercut("paper", "--markdown", "--json", code=2).told


def test_without_a_service_it_says_how_to_start_one(layercut: Layercut) -> None:
    told = layercut("paper", "--url", f"http://127.0.0.1:{free_port()}", code=4).told
    assert "layercut serve starts a service here" in told


@pytest.fixture
def with_rte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGateway]:
    folder = tmp_path / "glue" / "RTE"
    folder.mkdir(parents=True)
    rows = [f"{at}\tIt rains.\tIt is wet {at}.\t{'entailment' if at % 2 else 'not_entailment'}" for at in range(40)]
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n")
    with live_gateway(tmp_path / "gateway", glue_dir=folder.parent) as running:
        monkeypatch.setenv("LAYERCUT_URL", running.url)
        yield running


def test_the_tables_are_printed_and_what_is_known_is_not_run_again(
    layercut: Layercut, with_rte: LiveGateway, tmp_path: Path
) -> None:
    gateway, done = with_rte, list[str]()

    def work(taken: Claim) -> None:
        done.append(taken.lease.job_id)
        plan = taken.resolved.plan
        assert plan is not None
        found = {"layers_kept": plan.kept, "layers_dropped": plan.dropped}
        succeed(gateway.state, taken, tmp_path / taken.lease.job_id, found=found)

    with working(gateway, work):
        first = layercut(*grid(gateway, "--rows", "40", "--table5", "--json"))
    found = json.loads(first.out)
    assert len(found["studies"]) == 2
    assert [table["number"] for table in found["tables"]] == [1, 2, 3, 4, 5]
    top, *_, order = found["tables"]
    assert ["bert", "2", "bert, finetune"] in [line[:3] for line in top["rows"]]
    assert ["bert", "fine-tuned", "bert, fine-tuned again"] in [line[:3] for line in order["rows"]]
    before = len(done)

    again = layercut(*grid(gateway, "--rows", "40", "--markdown"))
    assert "of which 1 are known" in again.told
    assert "1 of them known from earlier jobs" in again.told
    assert "## Table 1: " in again.out
    assert "| bert | 2 | bert, finetune |" in again.out
    assert len(done) == before

    back = layercut("paper", "--study", found["studies"][0])
    assert "Table 5: " in back.out
    assert "finished" in back.told


def test_where_the_service_has_no_glue_it_says_how_to_give_it(layercut: Layercut, gateway: LiveGateway) -> None:
    message = "dataset 'nyu-mll/glue' is not in the cache; LAYERCUT_GLUE_DIR may name a folder with RTE/train.tsv"
    error = {"code": "hub_unavailable", "message": message, "stage": "resolving"}

    def fail(taken: Claim) -> None:
        gateway.state.store.finish(taken.lease, say(EventType.FAILED, "it failed", error=error))

    with working(gateway, fail):
        done = layercut(*grid(gateway, "--rows", "41"), code=3)
    assert "start it with LAYERCUT_GLUE_DIR=" in done.told
    assert done.out == ""
