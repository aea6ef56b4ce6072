"""What must hold after any faults, seen from outside: over HTTP, in the store's folder, and in the rows at the end."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.chaos.harness.deployment import SWEEP_AFTER_SECONDS, Deployment
from tests.chaos.harness.leftovers import Named
from tests.chaos.harness.load import ENDED, MAX_ATTEMPTS, Load, Sent
from tests.chaos.harness.receiver import Receiver
from tests.chaos.harness.rows import reader
from tests.chaos.harness.runner import weights_of
from tests.chaos.harness.services import living, wait_until
from tests.chaos.harness.studies import wrong_with_studies
from tests.chaos.harness.traffic import Traffic
from tests.chaos.harness.watching import TERMINAL

#: By what a user would call it.
NAMES = {
    "lost": "an accepted job ends, and is there",
    "ended twice": "a job ends once a try, and its events are numbered 1, 2, 3 …",
    "given up": "a job fails only when its attempts are used up, or as its runner said",
    "corrupt": "what succeeded downloads whole, with its own weights",
    "doubled": "one request makes one job, one cell of a study too, and one attempt is published",
    "too many attempts": "no job has more attempts than it may",
    "unswept": "of what came to nothing no file is left in the store",
    "orphans": "no process and no scratch folder is left",
    "untold": "a webhook is told how its job ended, and no delivery is missing",
    "refused": "a right request is taken, in the end",
    "worker ended": "malformed messages end no worker",
    "store anew": "nobody makes a store anew whose folder is away",
    "500": "no answer is a 500",
    "hung": "no request takes longer than 10 s",
    "503": "a 503 or 507 comes only while what it names is away",
}
#: The reaper looks once a second; the last attempt may have ended just now.
SWEPT_SECONDS = SWEEP_AFTER_SECONDS + 40


@dataclass
class Findings:
    """What broke which promise, and how much was looked at."""

    wrong: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})
    looked: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, what: str) -> None:
        self.wrong[name].append(what)

    @property
    def broken(self) -> dict[str, int]:
        return {name: len(found) for name, found in self.wrong.items() if found}


class Check:
    """``seen`` is asked while the deployment is up and nothing is broken any more, ``left`` when it has stopped."""

    def __init__(self, deployment: Deployment, load: Load, traffic: Traffic, receiver: Receiver) -> None:
        self._deployment, self._load, self._traffic, self._receiver = deployment, load, traffic, receiver
        self.findings = Findings()

    def seen(self) -> Findings:
        for sent in self._load.sent:
            self._see(sent)
        for kind, found in self._traffic.wrong.items():
            self.findings.wrong[kind] += found
        self.findings.looked["answers"] = sum(self._traffic.answers.values())
        self._see_swept()
        self._see_told()
        self._see_rows()
        self._see_studies()
        return self.findings

    def left(self) -> Findings:
        for process in living(self._deployment.others):
            self.findings.add("orphans", _described(process))
        for root in self._deployment.scratch_roots:
            for folder in root.glob("runner-*"):
                self.findings.add("orphans", f"a scratch folder: {folder}")
        return self.findings

    def _see(self, sent: Sent) -> None:
        for name, what in sent.wrong:
            self.findings.add(name, what)
        found = self._get(f"/v1/jobs?metadata[chaos]={sent.number}") or {"data": []}
        ids = [job["id"] for job in found["data"]]
        if len(ids) > 1:
            self.findings.add("doubled", f"job {sent.number} is there as {', '.join(ids)}")
        sent.deleted |= sent.may_be_deleted and sent.id not in ids
        if sent.id is None or sent.deleted:
            if sent.deleted and sent.id in ids:
                self.findings.add("doubled", f"job {sent.number} ({sent.id}) was deleted, and is there")
            return
        job = self._get(f"/v1/jobs/{sent.id}")
        if job is None or job["status"] not in ENDED:
            why = "is not there" if job is None else f"is {job['status']} ({job['stage']}, attempt {job['attempt']})"
            self.findings.add("lost", f"job {sent.number} ({sent.id}, {sent.kind}, {sent.act}) {why}")
            return
        sent.job = job
        self.findings.looked["jobs"] += 1
        self._see_events(sent)
        self._see_outcome(sent, job)

    def _see_events(self, sent: Sent) -> None:
        told: list[dict[str, Any]] = []
        while page := (self._get(f"/v1/jobs/{sent.id}/events?limit=1000&after={len(told)}") or {}).get("data"):
            told += page
        self.findings.looked["events"] += len(told)
        numbers = [event["number"] for event in told]
        if numbers != list(range(1, len(told) + 1)):
            self.findings.add("ended twice", f"{sent.id}: events are numbered {numbers}")
        ends = [event["number"] for event in told if event["type"] in TERMINAL]
        again = any(after == before + 1 for before, after in itertools.pairwise(ends))
        if not ends or ends[-1] != len(told) or again or (len(ends) > 1 and not sent.may_end_again):
            self.findings.add("ended twice", f"{sent.id}: it ends at events {ends} of {len(told)}")
        if sent.watched is not None and not told_whole(sent.watched, numbers, ends):
            self.findings.add("untold", f"{sent.id}: a watcher saw {sent.watched} of {numbers}, which ends at {ends}")

    def _see_outcome(self, sent: Sent, job: dict[str, Any]) -> None:
        if job["status"] == "succeeded":
            self.findings.looked["artifacts"] += 1
            for what in wrong_with_artifact(self._traffic, sent.id or "", sent.kind):
                self.findings.add("corrupt", f"job {sent.number} ({sent.id}): {what}")
        if job["status"] == "failed":
            code = job["error"]["code"]
            as_asked = sent.kind == "failing" and code == "training_diverged"
            if not as_asked and job["attempt"] < MAX_ATTEMPTS:
                said = f"{code} at attempt {job['attempt']} of {MAX_ATTEMPTS}: {job['error']['message'][:300]}"
                self.findings.add("given up", f"job {sent.number} ({sent.id}, {sent.kind}): {said}")
        if job["status"] == "cancelled" and not sent.act.startswith("cancel"):
            self.findings.add("given up", f"job {sent.number} ({sent.id}): cancelled, and nobody asked for it")

    def _see_swept(self) -> None:
        wait_until(lambda: not self._named().unswept(self._deployment.store), SWEPT_SECONDS, every=1.0)
        for path, why in self._named().unswept(self._deployment.store).items():
            self.findings.add("unswept", f"{path}: {why}")
        whole = [path.parts[-4] for path in self._deployment.store.glob("jobs/*/attempts/*/manifest.json")]
        for job_id, count in Counter(whole).items():
            if count > 1:
                self.findings.add("doubled", f"{job_id} is published {count} times")

    def _named(self) -> Named:
        jobs = {row.id: (row.status, row.artifact) for row in self._rows("SELECT id, status, artifact FROM jobs")}
        return Named(jobs, {row.prefix: row.state for row in self._rows("SELECT prefix, state FROM cache")})

    def _see_rows(self) -> None:
        for row in self._rows("SELECT id, attempt, max_attempts, status FROM jobs"):
            if row.attempt > row.max_attempts:
                self.findings.add("too many attempts", f"{row.id}: {row.attempt} of {row.max_attempts}")
            if row.status not in ENDED and not any(row.id in what for what in self.findings.wrong["lost"]):
                self.findings.add("lost", f"{row.id} is {row.status} in the database")

    def _see_studies(self) -> None:
        self.findings.looked["studies"] = len(self._load.studies.sent)
        for name, what in wrong_with_studies(self._load.studies, self._rows):
            self.findings.add(name, what)

    def _see_told(self) -> None:
        """At least once; a delivery that waits for another try is not lost."""
        seen = [sent for sent in self._load.sent if "webhook" in sent.body and not sent.deleted]
        wanted = [sent for sent in seen if sent.job and sent.job["status"] in ENDED]
        if not wanted:
            return
        wait_until(lambda: not self._untold(wanted), 60, every=1.0)
        self.findings.looked["webhooks"] = len(wanted)
        for sent in self._untold(wanted):
            self.findings.add("untold", f"job {sent.number} ({sent.id}): nobody was told of its end, and nothing waits")

    def _untold(self, wanted: list[Sent]) -> list[Sent]:
        due = self._rows("SELECT job_id, event_type FROM deliveries WHERE due_at IS NOT NULL")
        return untold(wanted, {*self._receiver.told, *((row.job_id, row.event_type) for row in due)})

    def _get(self, path: str) -> dict[str, Any] | None:
        answer = self._traffic.until_answered("GET", path, seconds=60)
        return answer.json() if answer is not None and answer.status_code == 200 else None

    def _rows(self, query: str) -> list[Any]:
        with reader(self._deployment.database_url) as rows:
            return rows(query)


def untold(wanted: list[Sent], told: set[tuple[str, str]]) -> list[Sent]:
    """Those of whose last end nothing is among the ``told``, by (job, event type): one that was retried ends anew."""
    return [sent for sent in wanted if sent.job and (sent.id, f"job.{sent.job['status']}") not in told]


def told_whole(watched: list[int], numbers: list[int], ends: list[int]) -> bool:
    """Whether a watcher, who comes back whenever it is cut off, saw all events up to an end of the job."""
    return watched == numbers[: len(watched)] and bool(watched) and watched[-1] in ends


def wrong_with_artifact(traffic: Traffic, job_id: str, kind: str) -> Iterator[str]:
    """Every file by its list and by the tar, their hashes, and the weights themselves."""
    listed = traffic.until_answered("GET", f"/v1/jobs/{job_id}/files")
    archive = traffic.until_answered("GET", f"/v1/jobs/{job_id}/download")
    if listed is None or archive is None or listed.status_code != 200 or archive.status_code != 200:
        said = [answer and f"{answer.status_code} {answer.text[:200]}" for answer in (listed, archive)]
        yield f"files and download were answered {said}"
        return
    try:
        members = _members(archive.content)
    except (tarfile.TarError, EOFError) as error:
        yield f"the tar cannot be read: {error}"
        return
    for file in listed.json()["data"]:
        content = members.get(file["name"])
        if content is None or hashlib.sha256(content).hexdigest() != file["sha256"] or len(content) != file["bytes"]:
            yield f"{file['name']} is not in the tar as it is listed"
    for line in members.get("SHA256SUMS", b"").decode().splitlines():
        digest, name = line.split(maxsplit=1)
        if hashlib.sha256(members.get(name, b"")).hexdigest() != digest:
            yield f"SHA256SUMS is wrong about {name}"
    yield from wrong_weights(members.get("model.safetensors", b""), job_id, kind)


def _members(archive: bytes) -> dict[str, bytes]:
    """By their names below the tar's one folder."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = [(member, tar.extractfile(member)) for member in tar.getmembers() if member.isfile()]
        return {member.name.partition("/")[2]: file.read() for member, file in files if file is not None}


def wrong_weights(content: bytes, job_id: str, kind: str) -> Iterator[str]:
    """Of a safetensors file: its header, its length, and whose numbers it holds."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = {name: entry for name, entry in json.loads(content[8 : 8 + length]).items() if name != "__metadata__"}
    except ValueError as error:
        yield f"the weights have no header: {error}"
        return
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if 8 + length + max(ends, default=0) != len(content):
        yield "the weights are not as long as their header says"
    if kind in ("quick", "large") and not content[8 + length :].startswith(_own_block(job_id)):
        yield "the weights are those of another job"


def _own_block(job_id: str) -> bytes:
    """What the weights of a quick job begin with."""
    return weights_of(job_id, 1)[-hashlib.sha256().digest_size :]


def _described(process: psutil.Process) -> str:
    try:
        return f"process {process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"process {process.pid}"
