"""The commands that ask a service, as they are typed: what is on stdout, what on stderr, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_schemas.event_types import EventType
from store.jobs import Claim
from tests.support.events import say
from tests.support.gateway_process import free_port
from tests.support.gateway_worker import CARD, FILES
from tests.support.live_gateway import LiveGateway, bert

Layercut = Callable[..., Any]


def small(gateway: LiveGateway, *more: object) -> list[object]:
    return ["--model", gateway.model, "--task", "none", "--strategy", "top", "--drop", "2", *more]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_submit_prints_the_id_and_show_has_the_job(layercut: Layercut, gateway: LiveGateway) -> None:
    done = layercut("submit", *small(gateway, "--metadata", "team=a", "--set", "priority=3"))
    job = lines(layercut("show", done.out.strip(), "--json").out)[0]
    assert (job["id"], job["metadata"], job["priority"]) == (done.out.strip(), {"team": "a"}, 3)
    assert job["resolved"]["plan"]["dropped"] == [4, 5]
    shown = layercut("show", job["id"]).out
    assert "queued" in shown
    assert "[4, 5] of 6 layers" in shown


@pytest.mark.parametrize("ending", [".json", ".yaml", "-"])
def test_a_file_is_the_request_and_flags_go_over_it(
    layercut: Layercut, gateway: LiveGateway, tmp_path: Path, ending: str
) -> None:
    body = {**gateway.body(seed=7), "prune": {"strategy": "top", "drop_ratio": 0.5}}
    file = tmp_path / f"job{ending}"
    file.write_text(json.dumps({"request": body} if ending == ".json" else body))
    stdin = json.dumps(body) if ending == "-" else None
    given = "-" if ending == "-" else file
    done = layercut("submit", given, "--drop", "1", "--set", "recovery.method=none", "--json", stdin=stdin)
    request = json.loads(done.out)["request"]
    assert (request["seed"], request["prune"]) == (7, {"strategy": "top", "drop": 1})
    assert request["recovery"] == {"method": "none"}
    text = json.dumps({**body, "task": "none", "recovery": "none", "metadata": None})
    done = layercut("submit", "-", "--set", "recovery.method=none", "--metadata", "a.b=c", "--json", stdin=text)
    request = json.loads(done.out)["request"]
    assert (request["recovery"], request["metadata"]) == ({"method": "none"}, {"a.b": "c"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a job file, or --model and --task"),
        (["--set", "prune"], "'prune' is not PATH=VALUE"),
        (["--set", "a..b=1"], "is not PATH=VALUE"),
        (["--set", "seed=1", "--set", "seed.x=1"], "seed has no parts"),
        (["--drop", "many"], "neither a number of layers nor a share"),
        (["--model", "a/b", "--metadata", "team"], "'team' is not KEY=VALUE"),
        (["nothing.json"], "nothing.json: No such file"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_is_a_usage_error(layercut: Layercut, arguments: list[str], said: str) -> None:
    told = " ".join(layercut("submit", *arguments, code=2).told.replace("│", " ").split())
    assert said in told


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", '"text"'])
def test_a_file_that_is_no_request_is_a_usage_error(layercut: Layercut, tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    assert "job.json" in layercut("submit", tmp_path / "job.json", code=2).told


def test_a_refusal_is_one_sentence_and_its_exit_code(layercut: Layercut, gateway: LiveGateway) -> None:
    done = layercut("submit", *small(gateway)[:-1], "13", code=3)
    assert done.out == ""
    assert done.told == (
        "layercut: the model has 6 layers and at least one must stay: drop at most 5, not 13 [/prune/drop]\n"
    )
    error = json.loads(layercut("submit", *small(gateway)[:-1], "13", "--json", code=3).told)["error"]
    assert (error["exit_code"], error["problem"]["code"]) == (3, "invalid_layers")
    assert "--upload" in layercut("submit", "--model", "/nowhere/bert", "--task", "none", code=3).told


def test_nobody_there_and_somebody_else_there(layercut: Layercut, gateway: LiveGateway) -> None:
    done = layercut("list", "--url", f"http://127.0.0.1:{free_port()}", code=4)
    assert done.told.startswith("layercut: GET /v1/jobs: ")
    assert layercut("list", "--url", "ftp://x", code=2).told.startswith("layercut: the service's address")
    assert "not_found" in layercut("list", "--url", f"{gateway.url}/docs", "--json", code=3).told


def test_submit_can_be_tried_without_a_job(layercut: Layercut, gateway: LiveGateway) -> None:
    before = layercut("list", "--json", "-n", "0").out
    assert "takes" in layercut("submit", *small(gateway, "--dry-run")).out
    assert json.loads(layercut("submit", *small(gateway, "--dry-run", "--json")).out)["id"] is None
    assert layercut("list", "--json", "-n", "0").out == before


def test_a_plan(layercut: Layercut, gateway: LiveGateway) -> None:
    shown = layercut("plan", *small(gateway)).out
    assert "[4, 5], of layers numbered from 0" in shown
    assert json.loads(layercut("plan", *small(gateway, "--json")).out)["dropped"] == [4, 5]


def test_list_is_a_table_or_json_lines(layercut: Layercut, gateway: LiveGateway) -> None:
    made = [layercut("submit", *small(gateway, "--metadata", "list=cli")).out.strip() for _ in range(3)]
    shown = layercut("list", "--metadata", "list=cli", "-n", "2").out.splitlines()
    assert shown[0].split() == ["id", "status", "model", "task", "done", "score", "created"]
    assert [line.split()[0] for line in shown[1:]] == made[:0:-1]
    assert [job["id"] for job in lines(layercut("list", "--metadata", "list=cli", "--json").out)] == made[::-1]
    layercut("cancel", *made[:2])
    assert len(lines(layercut("list", "--metadata", "list=cli", "--status", "cancelled", "--json").out)) == 2


def test_cancel_retry_delete(layercut: Layercut, queued: str) -> None:
    assert layercut("cancel", queued).out == f"{queued} cancelled\n"
    assert layercut("retry", queued).out == f"{queued} queued\n"
    assert "job_not_terminal" in layercut("delete", queued, "--json", code=3).told
    layercut("cancel", queued)
    assert layercut("delete", queued).out == f"{queued} deleted\n"
    assert layercut("show", queued, code=3).told.startswith("layercut: ")


def test_watch_shows_what_happens_and_how_it_ended(
    layercut: Layercut, gateway: LiveGateway, taken: Claim, delivered: str
) -> None:
    shown = layercut("watch", delivered).out.splitlines()
    assert [line.split()[0] for line in shown] == ["job.queued", "job.started", "job.succeeded"]
    told = lines(layercut("watch", delivered, "--json").out)
    assert [event["number"] for event in told] == [1, 2, 3]
    assert len(lines(layercut("watch", delivered, "--json", "--after", "2").out)) == 1


def test_a_job_that_failed_is_exit_code_one(layercut: Layercut, gateway: LiveGateway, taken: Claim) -> None:
    error = {"code": "export_failed", "message": "it broke \x1b[31m", "stage": "exporting"}
    gateway.state.store.record(taken.lease, say(EventType.LOG, "a line\x1b[2J of \n two [bold]"))
    gateway.state.store.finish(taken.lease, say(EventType.FAILED, "it broke", error=error))
    shown = layercut("watch", taken.lease.job_id, code=1).out
    assert "job.log            a line?[2J of ? two [bold]" in shown
    assert "it broke ?[31m (export_failed, while exporting)" in layercut("show", taken.lease.job_id).out


def test_waiting_has_an_end(layercut: Layercut, taken: Claim) -> None:
    done = layercut("watch", taken.lease.job_id, "--timeout", "0.2", code=6)
    assert f"{taken.lease.job_id} is running after 0.2 s" in done.told


def test_logs(layercut: Layercut, gateway: LiveGateway, taken: Claim) -> None:
    gateway.state.store.write_log(taken.lease, "first\nsecond\n", 0, keep=2**20)
    assert layercut("logs", taken.lease.job_id).out == "first\nsecond\n"
    assert layercut("logs", taken.lease.job_id, "--offset", "6").out == "second\n"
    gateway.state.store.write_log(taken.lease, "\x1bc\tthird\n", 13, keep=2**20)
    assert layercut("logs", taken.lease.job_id, "--offset", "13").out == "?c\tthird\n"
    assert lines(layercut("logs", taken.lease.job_id, "--json").out)[0]["text"] == "first\nsecond\n"


def test_report_and_download(
    layercut: Layercut, delivered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert layercut("show", delivered, "--report").out.strip() == CARD.strip()
    assert json.loads(layercut("show", delivered, "--report", "--json").out)["layers"]
    monkeypatch.chdir(tmp_path)
    assert layercut("download", delivered).out.strip() == str(tmp_path / delivered)
    assert {path.name for path in (tmp_path / delivered).iterdir()} == set(FILES)
    told = json.loads(layercut("download", delivered, tmp_path / "out", "--json").out)
    assert told == {"job_id": delivered, "folder": str(tmp_path / "out")}
    (tmp_path / "out" / "mine").touch()
    assert "is not empty" in layercut("download", delivered, tmp_path / "out", code=5).told


def test_upload_prints_what_a_request_names_it_by(layercut: Layercut, gateway: LiveGateway, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\ngood,1\nbad,0\n")
    source = layercut("upload", tmp_path / "reviews.csv").out.strip()
    assert source.startswith("upload:upl_")
    told = json.loads(layercut("upload", bert(tmp_path / "bert"), "--name", "mine", "--json").out)
    assert (told["object"], told["name"], told["inspection"]["layers"]) == ("model", "mine", 6)
    assert "there is no file" in layercut("upload", tmp_path / "nothing.csv", code=5).told
    assert "a model is one folder" in layercut("upload", tmp_path / "bert", tmp_path, code=2).told


def test_a_call_that_is_made_again_with_its_key_sends_nothing_twice(
    layercut: Layercut, gateway: LiveGateway, tmp_path: Path
) -> None:
    model = bert(tmp_path / "mine")
    asked = ("submit", *small(gateway), "--model", model, "--upload", "--idempotency-key", "nightly")
    first = layercut(*asked)
    assert layercut(*asked).out == first.out
    assert len({line for line in first.told.splitlines() if "is upload:" in line}) == 1


def test_what_is_no_id_or_address_is_a_usage_error(layercut: Layercut) -> None:
    assert "an id is missing" in layercut("delete", "", code=2).told
    assert "address" in layercut("list", "--url", "http://layercut:80o0", code=2).told


def test_no_terminal_gets_no_escape_codes(layercut: Layercut, delivered: str) -> None:
    for command in (["list"], ["show", delivered], ["watch", delivered]):
        assert "\x1b" not in layercut(*command).out
