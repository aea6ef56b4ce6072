"""The whole story as a user lives it: only HTTP, a tar file, sha256sum and stock transformers.

``python demo/run.py`` uses the packaged model and tweets, in a training small enough for a laptop; ``--task rte`` the
whole GLUE task of that name instead, by the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from samples import copy_model, write_tweets
from server import DemoError, Explained, serve
from show import View, before_and_after, events, findings, follow, view_of

OUTPUT = Path("demo-output")
TWEETS = [
    ["@united thank you, the crew was wonderful and we landed early!"],
    ["Three hours on hold. I hate this airline."],
]
PAIRS = [["A man is playing a guitar.", "A man is playing an instrument."], ["It rained all day.", "The sun shone."]]
# What the downloaded model is asked at the end, by task.
QUESTIONS = {"tweets": TWEETS, "sst2": TWEETS, "rte": PAIRS, "mrpc": PAIRS}


# Sized for two cores without bf16 instructions; what a job leaves out is decided for quality, whatever it takes.
ROWS, EPOCHS = 720, 2
SMALL = f"""\
A small training, so that a laptop has it in minutes: {ROWS} tweets, and {EPOCHS} epochs for each of the two models.
A real job leaves max_train_rows and epochs out, and learns from all rows for 3 epochs.
A third of the tweets have each label, so that guessing scores 33.
"""


def job_request(task: str, model: Path, data: Path) -> dict[str, Any]:
    """Two of six layers go; which ones, and how the model is mended, is left to the defaults."""
    body: dict[str, Any] = {"model": str(model), "task": task, "prune": {"drop": 2}}
    if task != "tweets":
        return body
    tweets = {"dataset": str(data / "tweets.csv"), "text_columns": ["text"], "label_column": "sentiment"}
    latency = {"batch_sizes": [1, 8], "sequence_lengths": [32]}
    return body | {
        "task": {**tweets, "max_train_rows": ROWS},
        "recovery": {"epochs": EPOCHS, "baseline_batch_size": 16},
        "evaluation": {"latency": latency},
    }


def checked(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise DemoError(
            f"{response.request.method} {response.url.path} was answered {response.status_code}:\n{response.text}"
        )
    body: dict[str, Any] = response.json()
    return body


def run_job(view: View, client: httpx.Client, body: dict[str, Any]) -> str:
    """Ask for the job, watch it, and return its id once it has succeeded."""
    view.say("[bold]POST /v1/jobs[/]", escape(json.dumps(body, indent=2)))
    job = checked(client.post("/v1/jobs", json=body))
    follow(view, events(client, f"/v1/jobs/{job['id']}/events"))
    job = checked(client.get(f"/v1/jobs/{job['id']}"))
    if job["status"] != "succeeded":
        error = job["error"] or {"code": "internal", "message": f"the job is {job['status']}", "stage": job["stage"]}
        kind = DemoError if error["code"] == "internal" else Explained
        raise kind(f"{error['message']} ({error['code']}, while {error['stage']})")
    return str(job["id"])


def download(client: httpx.Client, job: str) -> Path:
    """Fetch the one tar and unpack it; returns the model's folder."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    archive = OUTPUT / f"{job}.tar"
    with client.stream("GET", f"/v1/jobs/{job}/download") as stream, archive.open("wb") as file:
        stream.raise_for_status()
        for piece in stream.iter_bytes():
            file.write(piece)
    run_tool("tar", "-xf", archive.name, cwd=OUTPUT)
    return OUTPUT / job


def run_tool(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"{command[0]} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_sums(view: View, folder: Path) -> None:
    tool = ["sha256sum"] if shutil.which("sha256sum") else ["shasum", "-a", "256"]
    view.doing("checking the files")
    view.say(f"\n[bold]{' '.join(tool)} -c SHA256SUMS[/] in {folder}")
    view.say(run_tool(*tool, "-c", "SHA256SUMS", cwd=folder).rstrip())


def classify(view: View, folder: Path, texts: list[list[str]]) -> None:
    view.doing("loading the model in plain transformers")
    view.say("\n[bold]The model in plain transformers[/], in a process of its own")
    script = Path(__file__).with_name("classify.py")
    output = run_tool(sys.executable, "-I", script, folder, json.dumps(texts), HF_HUB_OFFLINE="1")
    for answer in map(json.loads, output.splitlines()):
        view.say(f"  {answer['label']:<15} {answer['probability']:.0%}  {escape(' / '.join(answer['text']))}")


def story(view: View, task: str, folder: Path) -> None:
    models, data = folder / "models", folder / "data"
    view.doing("preparing the model and the data")
    copy_model(models / "all-MiniLM-L6-v2")
    data.mkdir()
    if task == "tweets":
        view.say(SMALL)
        write_tweets(data / "tweets.csv")
    view.doing("starting the server")
    with serve(folder, models, data) as client:
        view.say(f"layercut serves on {client.base_url}, and keeps everything in {folder}\n")
        job = run_job(view, client, job_request(task, models / "all-MiniLM-L6-v2", data))
        report = checked(client.get(f"/v1/jobs/{job}/report"))
        view.say()
        view.say(before_and_after(report))
        for line in findings(report):
            view.say(f"  {escape(line)}")
        view.doing("downloading")
        model = download(client, job)
        view.doing("stopping the server")
    check_sums(view, model)
    classify(view, model, QUESTIONS[task])
    view.say(f"\nThe model is in {model}; its card is {model / 'README.md'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=QUESTIONS, default="tweets", help="the packaged tweets, or a GLUE task")
    asked = parser.parse_args()
    console, began = Console(highlight=False, soft_wrap=True), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="layercut-demo-") as folder, view_of(console) as view:
            story(view, asked.task, Path(folder))
    except (DemoError, Explained) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"\nThe demo failed: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(f"Done in {time.monotonic() - began:.0f} seconds.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
