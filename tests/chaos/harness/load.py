"""Jobs as users send them: most quick, some trained; some cancelled, sent twice, retried, deleted."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.harness.studies import StudyLoad
from tests.chaos.harness.traffic import Traffic
from tests.chaos.harness.watching import watch

ENDED = ("succeeded", "failed", "cancelled")
MAX_ATTEMPTS = 10
#: Of one job, once nothing is broken any more.
SETTLE_SECONDS = 180.0
#: So many quick jobs for each that a real runner does.
KINDS = {"quick": 14, "large": 3, "failing": 2, "pruned": 1, "trained": 1}
#: What is done with a job beside waiting for it.
ACTS = {"nothing": 10, "cancel": 3, "cancel, retry": 2, "again": 3, "delete": 3, "retry": 3, "watch": 2}


@dataclass
class Sent:
    """One job of the load, and what was seen of it. ``number`` stands in its metadata."""

    number: int
    kind: str
    act: str
    seconds: float
    id: str | None = None
    refused: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] | None = None
    retries: int = 0
    deleted: bool = False
    #: A fault asked for it, and nobody heard the answer.
    may_be_deleted: bool = False
    #: A fault asked for a retry, and nobody heard the answer.
    may_be_retried: bool = False
    #: The numbers of the events that a watcher saw.
    watched: list[int] | None = None
    #: By what was promised otherwise.
    wrong: list[tuple[str, str]] = field(default_factory=list)

    @property
    def may_end_again(self) -> bool:
        return self.retries > 0 or self.may_be_retried

    @property
    def outcome(self) -> str:
        if self.deleted:
            return "deleted"
        if self.job is None:
            return "refused" if self.refused else "not known"
        return str(self.job["status"])


@dataclass(frozen=True)
class Offers:
    """What this service can do, as its OpenAPI document says."""

    keys: bool
    retry: bool
    delete: bool
    webhooks: bool
    studies: bool = False

    @classmethod
    def of(cls, document: dict[str, Any]) -> Offers:
        paths = document["paths"]
        named = {parameter["name"].lower() for parameter in paths["/v1/jobs"]["post"].get("parameters", [])}
        request = document["components"]["schemas"].get("JobRequest", {})
        return cls(
            keys="idempotency-key" in named,
            retry="/v1/jobs/{job_id}/retry" in paths,
            delete="delete" in paths["/v1/jobs/{job_id}"],
            webhooks="webhook" in request.get("properties", {}),
            studies="/v1/studies/{study_id}/cells" in paths,
        )


class Load:
    """``clients`` threads, each with one job at a time."""

    def __init__(
        self, traffic: Traffic, offers: Offers, inputs: Path, seed: int, *, clients: int, receiver: str | None = None
    ) -> None:
        self.traffic, self.offers, self._inputs, self._seed = traffic, offers, inputs, seed
        self._receiver = receiver if offers.webhooks else None
        self._next = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.sent: list[Sent] = []
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"client-{n}") for n in range(clients)]
        self.studies = StudyLoad(traffic, inputs, seed, self._ended)
        if offers.studies:
            self._threads.append(threading.Thread(target=self.studies.work, args=[self._patience], daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more, and see through what was sent."""
        self._ended.set()
        deadline = time.monotonic() + SETTLE_SECONDS
        for thread in self._threads:
            thread.join(max(1.0, deadline - time.monotonic()))

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(sent.outcome for sent in self.sent)

    @property
    def running(self) -> list[str]:
        """Ids of jobs that were accepted, and not seen to have ended."""
        return [sent.id for sent in list(self.sent) if sent.id and not (sent.job and sent.job["status"] in ENDED)]

    def draw(self, number: int) -> Sent:
        """The job of that number, which follows from the seed alone."""
        rng = random.Random(f"{self._seed}-{number}")
        sent = Sent(number, _drawn(rng, KINDS), _drawn(rng, ACTS), rng.uniform(0.0, 3.0))
        sent.body = self._body(sent, rng)
        return sent

    def _body(self, sent: Sent, rng: random.Random) -> dict[str, Any]:
        metadata = {"chaos": str(sent.number)}
        body: dict[str, Any] = {
            "model": str(self._inputs / "bert"),
            "task": "none",
            "prune": {"drop": 2},
            "recovery": {"method": "none"},
            "limits": {"max_attempts": MAX_ATTEMPTS},
            "metadata": metadata,
        }
        if sent.kind in ("quick", "large", "failing"):
            rows = 600_000 if sent.kind == "large" else rng.randint(100, 5000)
            end = "training_diverged" if sent.kind == "failing" else "succeed"
            metadata["quick"] = f"{rng.uniform(0.1, 2.5):.2f} {rng.randint(2, 6)} {rows} {end}"
        if sent.kind == "trained":
            table = str(self._inputs / "reviews.csv")
            body["task"] = {"dataset": table, "text_columns": ["text"], "label_column": "label"}
            body["recovery"] = {"epochs": rng.randint(8, 20)}
            body["evaluation"] = {"latency": {"batch_sizes": []}}
            body["seed"] = rng.randint(0, 2)
        if self._receiver is not None and rng.random() < 0.5:
            body["webhook"] = f"{self._receiver}/{sent.number}"
        return body

    def _work(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            sent = self.draw(number)
            self.sent.append(sent)
            try:
                self._see_through(sent, number)
            except Exception as error:  # noqa: BLE001 - one that is lost is told at the end
                sent.wrong.append(("lost", f"job {number}: the client met {type(error).__name__}: {error}"))

    def _see_through(self, sent: Sent, gateway: int) -> None:
        self._post(sent, gateway)
        if sent.id is None:
            return
        if sent.act == "again":
            self._post_again(sent, gateway + 1)
        if sent.act.startswith("cancel"):
            time.sleep(sent.seconds)
            self.traffic.until_answered("POST", f"/v1/jobs/{sent.id}/cancel", gateway=gateway)
        if sent.act == "watch":
            sent.watched = []
            watch(self.traffic.urls, sent.id, gateway, sent.watched, self._patience())
        self._await_end(sent, gateway)
        if sent.act.endswith("retry") and self.offers.retry and sent.outcome in ("failed", "cancelled"):
            self._retry(sent, gateway)
        if sent.act == "delete" and self.offers.delete and sent.outcome in ENDED:
            self._delete(sent, gateway)

    def _post(self, sent: Sent, gateway: int) -> None:
        answer = self.traffic.until_answered(
            "POST", "/v1/jobs", gateway=gateway, json=sent.body, headers=self._key(sent), seen=lambda: self._find(sent)
        )
        if answer is None:
            return
        found = answer.json()
        if answer.status_code in (200, 202):
            sent.id = found["id"]
        else:
            sent.refused = f"{answer.status_code} {answer.text[:300]}"
            sent.wrong.append(("refused", f"job {sent.number}: {sent.refused}"))

    def _post_again(self, sent: Sent, gateway: int) -> None:
        """The same request once more: by its key, the same job."""
        if not self.offers.keys:
            return
        answer = self.traffic.until_answered(
            "POST", "/v1/jobs", gateway=gateway, json=sent.body, headers=self._key(sent)
        )
        if answer is not None and answer.status_code < 300 and answer.json()["id"] != sent.id:
            sent.wrong.append(("doubled", f"job {sent.number}: {sent.id} and {answer.json()['id']} by one key"))

    def _await_end(self, sent: Sent, gateway: int) -> None:
        patient = self._patience()
        while patient():
            answer = self.traffic.ask("GET", f"/v1/jobs/{sent.id}", gateway=gateway)
            if answer is not None and answer.status_code == 200:
                sent.job = answer.json()
                if sent.job["status"] in ENDED:
                    return
            elif answer is not None and answer.status_code == 404:
                sent.deleted = sent.may_be_deleted
                if not sent.deleted:
                    sent.wrong.append(("lost", f"job {sent.number} ({sent.id}) was accepted, and is not there"))
                return
            gateway += answer is None
            time.sleep(0.3)

    def _patience(self) -> Callable[[], bool]:
        """Whether to wait on: as long as jobs are sent, and then until they must have settled."""
        settled: list[float] = []

        def patient() -> bool:
            if self._ended.is_set() and not settled:
                settled.append(time.monotonic() + SETTLE_SECONDS - 10)
            return not settled or time.monotonic() < settled[0]

        return patient

    def _retry(self, sent: Sent, gateway: int) -> None:
        """With a key of its own: where the answer is lost, the same one comes again."""
        path, headers = f"/v1/jobs/{sent.id}/retry", self._key(sent, "-retry")
        answer = self.traffic.until_answered("POST", path, gateway=gateway, headers=headers)
        if answer is None:
            return
        if answer.status_code < 300:
            sent.retries += 1
            self._await_end(sent, gateway)
        elif answer.status_code == 404 and sent.may_be_deleted:
            sent.deleted = True
        else:
            sent.wrong.append(
                ("refused", f"job {sent.number}: retry was answered {answer.status_code} {answer.text[:200]}")
            )

    def _delete(self, sent: Sent, gateway: int) -> None:
        """A 404 is what a delete finds whose first answer was lost."""
        answer = self.traffic.until_answered("DELETE", f"/v1/jobs/{sent.id}", gateway=gateway)
        if answer is None:
            return
        if answer.status_code in (200, 202, 204, 404):
            sent.deleted = True
        else:
            sent.wrong.append(
                ("refused", f"job {sent.number}: delete was answered {answer.status_code} {answer.text[:200]}")
            )

    def _key(self, sent: Sent, of: str = "") -> dict[str, str]:
        return {"Idempotency-Key": f"chaos-{self._seed}-{sent.number}{of}"} if self.offers.keys else {}

    def _find(self, sent: Sent) -> httpx.Response | None:
        """Without keys: the job that a POST without an answer has made, if it has."""
        if self.offers.keys:
            return None
        return found_one(self.traffic, sent.number)


def found_one(traffic: Traffic, number: int) -> httpx.Response | None:
    """The job of that number, as GET answers it."""
    listed = traffic.until_answered("GET", "/v1/jobs", params={"metadata[chaos]": str(number)})
    if listed is None or not (found := listed.json().get("data")):
        return None
    return traffic.until_answered("GET", f"/v1/jobs/{found[0]['id']}")


def _drawn(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
