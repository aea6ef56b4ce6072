"""The whole story as a user lives it: only HTTP, a tar file, sha256sum and stock transformers.

``python demo/run.py`` uses the packaged model and tweets; ``--task rte`` the GLUE task of that name instead.
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
from samples import model_folder, write_tweets
from server import DemoError, Explained, serve
from show import before_and_after, findings, follow

OUTPUT = Path("demo-output")
TWEETS = [
    ["@united thank you, the crew was wonderful and we landed early!"],
    ["Three hours on hold. I hate this airline."],
]
PAIRS = [["A man is playing a guitar.", "A man is playing an instrument."], ["It rained all day.", "The sun shone."]]
# What the downloaded model is asked at the end, by task.
QUESTIONS = {"tweets": TWEETS, "sst2": TWEETS, "rte": PAIRS, "mrpc": PAIRS}


def job_request(task: str, data: Path) -> dict[str, Any]:
    """Two of six layers go; which ones, and how the model is mended, is left to the defaults."""
    tweets = {"dataset": str(data / "tweets.csv"), "text_columns": ["text"], "label_column": "sentiment"}
    return {"model": str(model_folder()), "task": tweets if task == "tweets" else task, "prune": {"drop": 2}}


def checked(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise DemoError(
            f"{response.request.method} {response.url.path} was answered {response.status_code}:\n{response.text}"
        )
    body: dict[str, Any] = response.json()
    return body


def run_job(console: Console, client: httpx.Client, body: dict[str, Any]) -> str:
    """Ask for the job, watch it, and return its id once it has succeeded."""
    console.print("[bold]POST /v1/jobs[/]", json.dumps(body, indent=2))
    job = checked(client.post("/v1/jobs", json=body))
    follow(console, client, f"/v1/jobs/{job['id']}/events")
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


def check_sums(console: Console, folder: Path) -> None:
    tool = ["sha256sum"] if shutil.which("sha256sum") else ["shasum", "-a", "256"]
    console.print(f"\n[bold]{' '.join(tool)} -c SHA256SUMS[/] in {folder}")
    console.print(run_tool(*tool, "-c", "SHA256SUMS", cwd=folder).rstrip())


def classify(console: Console, folder: Path, texts: list[list[str]]) -> None:
    console.print("\n[bold]The model in plain transformers[/], in a process of its own")
    script = Path(__file__).with_name("classify.py")
    output = run_tool(sys.executable, "-I", script, folder, json.dumps(texts), HF_HUB_OFFLINE="1")
    for answer in map(json.loads, output.splitlines()):
        console.print(
            f"  {answer['label']:<15} {answer['probability']:.0%}  {' / '.join(answer['text'])}", highlight=False
        )


def story(console: Console, task: str, folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    if task == "tweets":
        write_tweets(data / "tweets.csv")
    with serve(folder, model_folder(), data) as client:
        console.print(f"layercut serves on {client.base_url}, and keeps everything in {folder}\n")
        job = run_job(console, client, job_request(task, data))
        report = checked(client.get(f"/v1/jobs/{job}/report"))
        console.print()
        console.print(before_and_after(report))
        for line in findings(report):
            console.print(f"  {line}")
        model = download(client, job)
    check_sums(console, model)
    classify(console, model, QUESTIONS[task])
    console.print(f"\nThe model is in {model}; its card is {model / 'README.md'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=QUESTIONS, default="tweets", help="the packaged tweets, or a GLUE task")
    asked = parser.parse_args()
    console, began = Console(highlight=False, soft_wrap=True), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="layercut-demo-") as folder:
            story(console, asked.task, Path(folder))
    except (DemoError, Explained) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"\nThe demo failed: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(f"Done in {time.monotonic() - began:.0f} seconds.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
