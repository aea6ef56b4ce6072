"""Files that are swapped after they were checked: between POST and the attempt, and while the attempt reads them.

All jobs are posted first, then everything is swapped, then a worker is started: the worst moment for each of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.attack_target import CSV, Target, target
from tests.support.hostile_models import Do, both, directory, fifo, holds, link, outside, said, sparse
from tests.support.serve_process import LAYERCUT, environment
from tests.support.tiny_models import tiny_model

pytestmark = [pytest.mark.attack, pytest.mark.timeout(600)]

REFUSED = frozenset({"model_invalid", "model_not_allowed", "model_not_found", "unsupported_architecture"})
DATA_REFUSED = frozenset({"dataset_invalid", "dataset_not_allowed", "dataset_not_found"})
TOKENIZER, WEIGHTS = "tokenizer_config.json", "model.safetensors"


def whole(folder: Path, site: Target) -> None:
    """The folder itself becomes a link to a model beside the roots."""
    shutil.rmtree(folder)
    folder.symlink_to(site.outside / "model")


def truncated(folder: Path, _: Target) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(2000)


SWAPS: dict[str, Do] = {
    "weights become a link out": link(WEIGHTS, "outside/model/model.safetensors"),
    "weights become an environment": link(WEIGHTS, "/proc/self/environ"),
    "weights become a FIFO": fifo(WEIGHTS),
    "weights are cut": truncated,
    "weights become 1 TB": sparse(WEIGHTS, 10**12),
    "weights become a folder": directory(WEIGHTS),
    "weights become a pickle": both(
        lambda folder, _: (folder / WEIGHTS).unlink(), holds("pytorch_model.bin", b"\x80\x04cos\nsystem\n.")
    ),
    "the tokenizer becomes a link out": link("tokenizer.json", "outside/secret.json"),
    "the config becomes a link out": link("config.json", "outside/secret.json"),
    "the config becomes a FIFO": fifo("config.json"),
    "the config has code": said("config.json", auto_map={"AutoModel": "evil.Evil"}),
    "the config names other weights": outside("config.json", "transformers_weights", "model/model.safetensors"),
    "the config asks for 10^9 in the middle": said("config.json", intermediate_size=10**9),
    "the tokenizer's config names our secret": both(
        lambda folder, _: (folder / "tokenizer.json").unlink(), outside(TOKENIZER, "vocab", "secret.txt")
    ),
    "the tokenizer's config has code": said(TOKENIZER, auto_map={"AutoTokenizer": ["evil.Evil", None]}),
    "the folder becomes a link out": whole,
}
#: Files that need not be read at all: the job may as well end well, with nothing of the secret.
ASIDE: dict[str, Do] = {
    "the card becomes a link out": link("README.md", "outside/secret.txt"),
    "a chat template appears": link("additional_chat_templates/x.jinja", "outside/secret.txt"),
    "a template appears": link("chat_template.jinja", "outside/secret.txt"),
    "a license appears": link("LICENSE", "outside/secret.txt"),
}


def data_link(path: Path, site: Target) -> None:
    path.unlink()
    path.symlink_to(site.outside / "secret.csv")


def data_fifo(path: Path, _: Target) -> None:
    path.unlink()
    os.mkfifo(path)


DATA: dict[str, Callable[[Path, Target], object]] = {
    "the table becomes a link out": data_link,
    "the table becomes a FIFO": data_fifo,
    "the table goes": lambda path, _: path.unlink(),
}


@dataclass
class Posted:
    """The job of each attack, by its name, and those whose files go to and fro all the while."""

    jobs: dict[str, str] = field(default_factory=dict)

    def post(self, name: str, site: Target, body: dict[str, Any]) -> None:
        answer = site.post({"prune": {"strategy": "top", "drop": 2}, "limits": {"max_attempts": 2}, **body})
        assert answer.status == 202, f"{name}: the job was to be taken as long as its files are honest, got {answer}"
        self.jobs[name] = json.loads(answer.body)["id"]


LATENCY = {"latency": {"batch_sizes": [], "sequence_lengths": []}}


def pruned(model: Path) -> dict[str, Any]:
    return {"model": str(model), "task": "none", "evaluation": LATENCY}


def trained(model: Path, table: Path) -> dict[str, Any]:
    task = {"dataset": str(table), "text_columns": ["text"], "label_column": "label"}
    recovery = {"method": "finetune", "epochs": 1, "baseline_epochs": 1, "batch_size": 8}
    return {"model": str(model), "task": task, "recovery": recovery, "evaluation": LATENCY}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("swapped")) as made:
        # Both known jobs were for a gateway without a worker.
        made.ask("POST", f"/v1/jobs/{made.known}/cancel")
        yield made
        made.check_kept()


@pytest.fixture(scope="module")
def posted(site: Target, request: pytest.FixtureRequest) -> Iterator[Posted]:
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    swaps = {name: do for name, do in {**SWAPS, **ASIDE}.items() if name in chosen}
    honest = tiny_model("bert", site.folder / "source")
    made, folders, tables = Posted(), {}, {}
    made.post("honest", site, pruned(shutil.copytree(honest, site.models / "control")))
    for number, name in enumerate(swaps):
        folders[name] = Path(shutil.copytree(honest, site.models / f"swapped-{number}"))
        made.post(name, site, pruned(folders[name]))
    for number, name in enumerate(DATA):
        tables[name] = site.tables / f"swapped-{number}.csv"
        tables[name].write_text(CSV)
        made.post(name, site, trained(site.models / "control", tables[name]))
    flickering = Path(shutil.copytree(honest, site.models / "flickering"))
    made.post("weights and tokenizer that go to and fro", site, pruned(flickering))
    for name, do in swaps.items():
        do(folders[name], site)
    for name, act in DATA.items():
        act(tables[name], site)
    done = threading.Event()
    thread = threading.Thread(target=flicker, args=(flickering, site, done))
    thread.start()
    worker = start_worker(site)
    try:
        yield made
    finally:
        done.set()
        thread.join()
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)


def flicker(folder: Path, site: Target, done: threading.Event) -> None:
    """Each name is the file, then a link out of the roots, and so on, as fast as it goes."""
    names = {"tokenizer.json": "secret.json", WEIGHTS: "model/model.safetensors", "vocab.txt": "secret.txt"}
    kept = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    while not done.is_set():
        for name, content in kept.items():
            for hostile in (True, False):
                new = folder / ".new"
                new.unlink(missing_ok=True)
                new.symlink_to(site.outside / names[name]) if hostile else new.write_bytes(content)
                new.replace(folder / name)
        done.wait(0.001)


def start_worker(site: Target) -> subprocess.Popen[bytes]:
    made = environment(
        data_dir=site.folder / "data", model_roots=site.models, data_roots=site.tables, kill_grace_seconds=2
    )
    with (site.folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            [*LAYERCUT, "worker"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**made, "CANARY": site.token, "HF_TOKEN": f"hf_{site.token}"},
        )  # fmt: skip


def outcome(site: Target, posted: Posted, name: str) -> dict[str, Any]:
    """The job's end; nothing that it tells, and no file that it made, has the secret."""
    job = site.ended(posted.jobs[name], seconds=400)
    base = f"/v1/jobs/{job['id']}"
    said = f"{name}: {job['status']} {job['error']}"
    site.check_secrets(said, json.dumps(job["error"]), job["request"])
    for path in ("", "/events?limit=1000", "/report"):
        site.check_secrets(said, site.ask("GET", base + path).text, [job["request"], site.folder.name])
    if job["status"] == "succeeded":
        for file in site.get_json(f"{base}/files")["data"]:
            assert site.token.encode() not in site.ask("GET", file["url"]).body, f"THE SECRET IS IN {file}. {said}"
    return job


def refused(site: Target, posted: Posted, name: str, codes: frozenset[str]) -> None:
    job = outcome(site, posted, name)
    assert job["status"] == "failed", f"{name}: expected a failure, got {job['status']}"
    assert job["error"]["code"] in codes, f"{name}: expected one of {sorted(codes)}, got {job['error']}"
    assert not job["error"]["retryable"], f"{name}: is told to be worth another try, {job['error']}"


def test_an_honest_job_among_them_is_done(site: Target, posted: Posted) -> None:
    job = outcome(site, posted, "honest")
    assert job["status"] == "succeeded", job["error"]


#: One in three for each change of ours; all of them by `make attack`.
QUICK = set(list(SWAPS)[::3])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in SWAPS]
)
def test_a_model_that_was_swapped_fails_for_good(site: Target, posted: Posted, name: str) -> None:
    refused(site, posted, name, REFUSED)


@pytest.mark.parametrize("name", ASIDE)
def test_a_file_that_need_not_be_read_brings_nothing_in(site: Target, posted: Posted, name: str) -> None:
    job = outcome(site, posted, name)
    assert job["status"] == "succeeded" or job["error"]["code"] in REFUSED, f"{name}: {job['error']}"


@pytest.mark.parametrize("name", DATA)
def test_a_table_that_was_swapped_fails_for_good(site: Target, posted: Posted, name: str) -> None:
    refused(site, posted, name, DATA_REFUSED)


def test_files_that_go_to_and_fro_bring_nothing_in(site: Target, posted: Posted) -> None:
    job = outcome(site, posted, "weights and tokenizer that go to and fro")
    assert job["status"] == "succeeded" or job["error"]["code"] in REFUSED, job["error"]
