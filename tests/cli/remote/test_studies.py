"""`layercut study …` as it is typed, against a real gateway; the test is the worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_worker import FILES, finish
from tests.support.live_gateway import LiveGateway, bert

Layercut = Callable[..., Any]


def flags(gateway: LiveGateway, *more: object) -> list[object]:
    """Of two jobs that train nothing, which come before all others."""
    return ["--model", gateway.model, "--task", "none", "--drop", "1,2", "--set", "job.priority=100", *more]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def made(layercut: Layercut, gateway: LiveGateway) -> str:
    found: str = layercut("study", "submit", *flags(gateway)).out.strip()
    return found


@pytest.fixture
def undone(layercut: Layercut, gateway: LiveGateway) -> str:
    """One whose cells no other test has done."""
    found: str = layercut("study", "submit", *flags(gateway, "--strategy", "bottom")).out.strip()
    return found


@pytest.fixture
def finished(gateway: LiveGateway, made: str, tmp_path: Path) -> str:
    finish(gateway.state, made, tmp_path)
    return made


def test_submit_prints_the_id_and_flags_are_lists(layercut: Layercut, gateway: LiveGateway) -> None:
    asked = flags(
        gateway, "--drop", "33%", "--strategy", "top,bottom", "--strategy", "symmetric", "--seed", "1,2",
        "--name", "mine", "--skip-impossible", "--budget-jobs", "3", "--metadata", "team=a",
    )  # fmt: skip
    id = layercut("study", "submit", *asked).out.strip()
    study = json.loads(layercut("study", "show", id, "--json").out)
    request = study["request"]
    assert (request["strategies"], request["drops"]) == (["top", "bottom", "symmetric"], [1, 2, 0.33])
    assert (request["seeds"], request["impossible"], request["job"]["metadata"]) == ([1, 2], "skip", {"team": "a"})
    assert (study["name"], study["budget"]["jobs"], study["progress"]["cells"]) == ("mine", 3, 18)
    shown = layercut("study", "show", id).out
    assert "18: " in shown
    assert "budget" in shown
    layercut("study", "cancel", id)


@pytest.mark.parametrize("ending", [".json", ".yaml"])
def test_a_file_is_the_body_and_flags_go_over_it(
    layercut: Layercut, gateway: LiveGateway, tmp_path: Path, ending: str
) -> None:
    body = {"models": [str(gateway.model)], "tasks": "none", "drops": [1, 2, 3], "name": "of a file"}
    (tmp_path / f"study{ending}").write_text(json.dumps(body))
    done = layercut("study", "submit", tmp_path / f"study{ending}", "--drop", "2", "--json")
    request = json.loads(done.out)["request"]
    assert (request["name"], request["drops"]) == ("of a file", [2])
    layercut("study", "cancel", json.loads(done.out)["id"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a file, or --model, --task and --drop"),
        (["--drop", "many"], "'many' is neither a number of layers nor a share"),
        (["--seed", "x"], "'x' is no whole number"),
        (["nothing.json"], "nothing.json: No such file"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_is_a_usage_error(layercut: Layercut, arguments: list[str], said: str) -> None:
    told = " ".join(layercut("study", "submit", *arguments, code=2).told.replace("│", " ").split())
    assert said in told


def test_it_can_be_tried_without_a_job(layercut: Layercut, gateway: LiveGateway) -> None:
    before = layercut("study", "list", "--json", "-n", "0").out
    shown = layercut("study", "submit", *flags(gateway, "--validate", "--drop", "8", "--skip-impossible")).out
    assert "cells" in shown
    assert "impossible" in shown
    assert json.loads(layercut("study", "submit", *flags(gateway, "--validate", "--json")).out)["cells"] == 2
    done = layercut("study", "submit", *flags(gateway, "--drop", "8"), code=3)
    assert "6 layers" in done.told
    assert layercut("study", "list", "--json", "-n", "0").out == before


def test_watch_shows_what_ends_and_then_the_table(layercut: Layercut, finished: str) -> None:
    shown = layercut("study", "watch", finished).out
    assert "2 of 2 cells" in shown
    assert "finished" in shown
    assert "seeds" in shown
    told = lines(layercut("study", "watch", finished, "--json").out)
    assert told[-1]["status"] == "finished"
    assert told[-1]["progress"]["by_state"] == {"succeeded": 2}


def test_waiting_has_an_end(layercut: Layercut, undone: str) -> None:
    assert "is running after 0.2 s" in layercut("study", "watch", undone, "--timeout", "0.2", code=6).told
    layercut("study", "cancel", undone)
    assert layercut("study", "watch", undone, code=1).out


def test_the_table_is_for_people_and_programs(layercut: Layercut, finished: str) -> None:
    shown = layercut("study", "show", finished).out
    assert "strategy" in shown
    assert layercut("study", "show", finished, "--csv").out.startswith("model,")
    assert "| --- |" in layercut("study", "show", finished, "--markdown").out
    assert len(json.loads(layercut("study", "show", finished, "--json").out)["table"]) == 2
    assert "one of --csv" in layercut("study", "show", finished, "--csv", "--markdown", code=2).told
    shown = layercut("study", "list", "-n", "5").out.splitlines()
    assert shown[0].split() == ["id", "status", "name", "done", "cells", "created"]
    assert any(line.startswith(finished) for line in shown)


def test_pick_names_a_job_and_fetches_it(layercut: Layercut, finished: str, tmp_path: Path) -> None:
    done = layercut("study", "pick", finished, "--min-retention", "0.9", "--download", tmp_path / "out", "--json")
    picked = lines(done.out)[0]["data"][0]
    assert {path.name for path in (tmp_path / "out" / picked["job_id"]).iterdir()} == set(FILES)
    assert "none" in layercut("study", "pick", finished, "--min-retention", "1.5", code=1).out


def test_cancel_resume_add_and_delete(layercut: Layercut, gateway: LiveGateway, undone: str) -> None:
    assert layercut("study", "add", undone, "--drop", "2,3").out == f"{undone} running, 3 cells\n"
    assert layercut("study", "cancel", undone).out.startswith(f"{undone} cancelled")
    assert layercut("study", "resume", undone, "--budget-jobs", "9").out.startswith(f"{undone} running")
    assert "study_not_ended" in layercut("study", "delete", undone, "--json", code=3).told
    layercut("study", "cancel", undone)
    assert layercut("study", "delete", undone, "--jobs").out == f"{undone} deleted with its jobs\n"
    assert layercut("study", "show", undone, code=3).told.startswith("layercut: ")


def test_what_lies_here_is_sent_along_once(layercut: Layercut, gateway: LiveGateway, tmp_path: Path) -> None:
    model = bert(tmp_path / "mine")
    done = layercut("study", "submit", "--model", model, "--task", "none", "--drop", "1", "--upload")
    study = json.loads(layercut("study", "show", done.out.strip(), "--json").out)
    assert study["request"]["models"][0].startswith("upload:")
    assert done.told.count("is upload:") == 1


def test_a_figure_that_is_not_there_says_why(layercut: Layercut, finished: str, tmp_path: Path) -> None:
    done = layercut("study", "figure", finished, "nothing", "-o", tmp_path / "x.svg", code=3)
    assert done.told.startswith("layercut: ")
    assert not (tmp_path / "x.svg").exists()
    assert "neither .svg nor .png" in layercut("study", "figure", finished, "front", "-o", "x.gif", code=2).told
    job = json.loads(layercut("study", "show", finished, "--json").out)["table"][0]["cells"][0]["job_id"]
    assert layercut("figure", job, "nothing", "-o", "-", code=3).out == ""
