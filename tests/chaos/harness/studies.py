"""Studies as users send them: quick cells; some cancelled and resumed, some with cells added later."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.harness.traffic import Traffic

ACTS = {"nothing": 3, "cancel, resume": 3, "add": 2}
OPEN = ("queued", "running", "cancelling")
STATES_OF_WHOLE = {"succeeded", "failed"}
#: Between two studies: jobs of other users must get their turn.
PAUSE_SECONDS = 2.0


@dataclass
class SentStudy:
    number: int
    act: str
    seconds: float
    body: dict[str, Any]
    id: str | None = None
    shown: dict[str, Any] | None = None
    wrong: list[tuple[str, str]] = field(default_factory=list)

    @property
    def cells(self) -> int:
        return 6 + (2 if self.act == "add" else 0)


class StudyLoad:
    """One thread, which sees one study through at a time. ``patience`` says whether to wait on."""

    def __init__(self, traffic: Traffic, inputs: Path, seed: int, ended: threading.Event) -> None:
        self._traffic, self._inputs, self._seed, self._ended = traffic, inputs, seed, ended
        self.sent: list[SentStudy] = []

    def work(self, patience: Callable[[], Callable[[], bool]]) -> None:
        while not self._ended.is_set():
            study = self.draw(len(self.sent))
            self.sent.append(study)
            try:
                self._see_through(study, patience())
            except Exception as error:  # noqa: BLE001 - one that is lost is told at the end
                study.wrong.append(("lost", f"study {study.number}: {type(error).__name__}: {error}"))
            self._ended.wait(PAUSE_SECONDS)

    def draw(self, number: int) -> SentStudy:
        """Of seeds of its own: what another study has done is not known."""
        rng = random.Random(f"{self._seed}-study-{number}")
        act = rng.choices(list(ACTS), list(ACTS.values()))[0]
        body = {
            "models": [str(self._inputs / "bert")],
            "tasks": [
                {"dataset": str(self._inputs / "reviews.csv"), "text_columns": ["text"], "label_column": "label"}
            ],
            "strategies": ["top", "bottom", "symmetric"],
            "drops": [1, 2],
            "seeds": [1000 + number],
            "job": {
                "limits": {"max_attempts": 10},
                "metadata": {"study": str(number), "quick": f"{rng.uniform(0.1, 1.0):.2f} 3 200 succeed"},
            },
        }
        return SentStudy(number, act, rng.uniform(0.0, 3.0), body)

    def _see_through(self, study: SentStudy, patient: Callable[[], bool]) -> None:
        made = self._say(study, "", study.body)
        if made is None:
            return
        study.id = made["id"]
        self._act(study)
        while patient():
            answer = self._traffic.ask("GET", f"/v1/studies/{study.id}", gateway=study.number)
            if answer is not None and answer.status_code == 200:
                study.shown = answer.json()
                if study.shown["status"] == "finished":
                    return
            time.sleep(0.5)

    def _act(self, study: SentStudy) -> None:
        time.sleep(study.seconds)
        if study.act == "cancel, resume":
            self._traffic.until_answered("POST", f"/v1/studies/{study.id}/cancel", gateway=study.number)
            self._say(study, f"/{study.id}/resume", {})
        if study.act == "add":
            lists = ("models", "tasks", "strategies")
            more = {**{name: study.body[name] for name in lists}, "strategies": ["top", "bottom"]}
            self._say(study, f"/{study.id}/cells", {**more, "drops": [2], "seeds": [500_000 + study.number]})

    def _say(self, study: SentStudy, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """With a key: where the answer is lost, the same one comes again."""
        key = {"Idempotency-Key": f"study-{self._seed}-{study.number}-{path.rpartition('/')[2]}"}
        answer = self._traffic.until_answered(
            "POST", f"/v1/studies{path}", gateway=study.number, json=body, headers=key
        )
        if answer is None:
            return None
        if answer.status_code != 202:
            told = answer.json().get("code")
            if told != "study_ended":
                study.wrong.append(("refused", f"study {study.number}: {answer.status_code} {answer.text[:300]}"))
            return None
        return dict(answer.json())


def cells_of(shown: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (cell for row in shown["table"] for cell in row["cells"])


def wrong_with_studies(load: StudyLoad, rows: Callable[[str], list[Any]]) -> Iterator[tuple[str, str]]:
    """What of the studies is not as promised: as they were shown, and in the database."""
    for study in load.sent:
        yield from study.wrong
        if study.id is None:
            continue
        if study.shown is None or study.shown["status"] != "finished":
            yield "lost", f"study {study.number} ({study.id}, {study.act}) is {study.shown and study.shown['status']}"
            continue
        cells = list(cells_of(study.shown))
        if len(cells) != study.cells:
            yield "doubled", f"study {study.number} ({study.id}) has {len(cells)} cells of {study.cells}"
        if study.act != "cancel, resume" and not {cell["state"] for cell in cells} <= STATES_OF_WHOLE:
            yield "lost", f"study {study.number} ({study.id}): its cells are {[cell['state'] for cell in cells]}"
    yield from wrong_rows(
        rows("SELECT id, status FROM studies"),
        rows("SELECT study_id, number, state, job_id, known FROM study_cells"),
        rows("SELECT id, status, study_id FROM jobs WHERE study_id IS NOT NULL"),
    )


def wrong_rows(studies: list[Any], cells: list[Any], jobs: list[Any]) -> Iterator[tuple[str, str]]:
    """A cell has one job at most, a job of a study its cell, and a finished study nothing that is open."""
    own = Counter(cell.job_id for cell in cells if cell.job_id and not cell.known)
    yield from (("doubled", f"{job} is the job of {count} cells") for job, count in own.items() if count > 1)
    named = {cell.job_id for cell in cells}
    yield from (("doubled", f"{job.id} of {job.study_id} is of no cell") for job in jobs if job.id not in named)
    status = {job.id: job.status for job in jobs}
    finished = {study.id for study in studies if study.status == "finished"}
    for cell in cells:
        is_open = cell.state == "waiting" or status.get(cell.job_id) in OPEN
        if cell.study_id in finished and is_open:
            yield "lost", f"cell {cell.number} of {cell.study_id}, which is finished, is open"
