"""Pictures of every page for docs/images: of a real service, which does a small study of the packaged model and tweets.

``python demo/screenshots.py`` takes some seven minutes on two cores; ``--only job-live`` renews that alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from run import checked
from samples import copy_model, write_tweets
from server import DemoError, serve
from shots import Views, views

#: A path that says nothing of the machine: pages show it.
FOLDER = Path("/tmp/layercut-demo")
MODEL, TABLE = FOLDER / "models/all-MiniLM-L6-v2", FOLDER / "data/tweets.csv"
IMAGES = Path(__file__).parents[1] / "docs/images"
#: Those that show what the study has made; and all.
OF_STUDY = {"jobs", "job", "new", "uploads", "study", "compare"}
PAGES = ("jobs", "job", "job-live", "new", "uploads", "study", "compare", "workers", "login")
LATENCY = {"batch_sizes": [1, 8], "sequence_lengths": [32]}
TWEETS = {"dataset": str(TABLE), "text_columns": ["text"], "label_column": "sentiment"}
#: Of what has one learn, as far as two cores have it in a few minutes.
STUDY = {
    "name": "Which layers of MiniLM may go",
    "models": [str(MODEL)],
    "tasks": [{**TWEETS, "max_train_rows": 960}],
    "strategies": ["top", "bottom"],
    "drops": [1, 2, 3],
    # A distillation wants more rows than these.
    "recoveries": [{"method": "finetune", "epochs": 2, "batch_size": 16, "baseline_batch_size": 16}],
    "seeds": [1, 2],
    "job": {"evaluation": {"latency": LATENCY}, "metadata": {"team": "search"}},
}
LONG = {
    "model": str(MODEL),
    "task": {**TWEETS, "max_train_rows": 1800},
    "prune": {"strategy": "symmetric", "drop": 2},
    "recovery": {"method": "finetune", "epochs": 6, "baseline_batch_size": 16},
    "evaluation": {"latency": LATENCY},
    "seed": 3,
}
STUDY_SECONDS, LIVE_SECONDS = 1200, 300


def made(client: httpx.Client, path: str, body: dict[str, Any]) -> str:
    return str(checked(client.post(path, json=body))["id"])


def until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > end:
            raise DemoError(f"{what} took more than {seconds} seconds")
        time.sleep(0.5)
    return answer


def study(client: httpx.Client) -> dict[str, Any]:
    """All its cells, done."""
    study_id = made(client, "/v1/studies", STUDY)

    def finished() -> dict[str, Any] | None:
        found = checked(client.get(f"/v1/studies/{study_id}"))
        print(f"\r  {found['progress']['fraction']:4.0%} of {found['progress']['cells']} cells", end="", flush=True)
        return found if found["status"] == "finished" else None

    found: dict[str, Any] = until(finished, STUDY_SECONDS, "the study")
    print()
    return found


def job_of(study: dict[str, Any], strategy: str, drop: int) -> str:
    row = next(row for row in study["table"] if row["strategy"] == strategy and row["drop"] == drop)
    return str(row["cells"][0]["job_id"])


def settled(client: httpx.Client, views: Views, wanted: list[str]) -> None:
    """What lies still."""
    found = study(client)
    first, other = job_of(found, "top", 1), job_of(found, "top", 3)
    views.upload("dataset", [TABLE], "Tweets about airlines")
    views.upload("model", [path for path in sorted(MODEL.iterdir()) if path.is_file()], "MiniLM, as it came")
    form = f"model={MODEL}&source=table&dataset={TABLE}&text_columns=text&label_column=sentiment"
    paths = {
        "job": f"/ui/jobs/{first}",
        "new": f"/ui/new?{form}&strategy=top&amount=drop&value=2",
        "uploads": "/ui/uploads",
        "study": f"/ui/studies/{found['id']}?min_retention=0.95#",
        "compare": f"/ui/compare?a={first}&b={other}",
    }
    views.take({name: path for name, path in paths.items() if name in wanted})


def moving(client: httpx.Client, views: Views, wanted: list[str]) -> None:
    """What changes while one looks: a job runs, and two wait."""
    long = made(client, "/v1/jobs", LONG)
    for drop in (3, 4):
        made(client, "/v1/jobs", {**LONG, "prune": {"strategy": "bottom", "drop": drop}})

    def well_on() -> bool:
        progress = checked(client.get(f"/v1/jobs/{long}"))["progress"]
        return (progress["step"] or 0) >= 30 and progress["loss"] is not None

    until(well_on, LIVE_SECONDS, "the first steps of a job")
    paths = {"job-live": f"/ui/jobs/{long}", "jobs": "/", "workers": "/ui/workers"}
    views.take({name: path for name, path in paths.items() if name in wanted})


def entrance(folder: Path, wanted: list[str]) -> None:
    """Of a service that asks for keys."""
    if "login" not in wanted:
        return
    folder.mkdir()
    with (
        serve(folder, FOLDER / "models", FOLDER / "data", {"LAYERCUT_AUTH": "on"}) as client,
        views(str(client.base_url), IMAGES) as seen,
    ):
        seen.take({"login": "/ui/login"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PAGES, default=PAGES, help="renew these alone")
    wanted = list(parser.parse_args().only)
    try:
        FOLDER.mkdir()
    except FileExistsError:
        print(f"{FOLDER} is there already: another run, or what is left of one; remove it", file=sys.stderr)
        return 1
    began = time.monotonic()
    try:
        copy_model(MODEL)
        TABLE.parent.mkdir()
        write_tweets(TABLE)
        entrance(FOLDER / "login", wanted)
        with (
            serve(FOLDER, MODEL.parent, TABLE.parent) as client,
            views(str(client.base_url), IMAGES) as seen,
        ):
            if OF_STUDY & {*wanted}:
                settled(client, seen, wanted)
            moving(client, seen, wanted)
    except DemoError as error:
        print(f"no screenshots: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(FOLDER)
    print(f"Done in {time.monotonic() - began:.0f} seconds; they are in {IMAGES}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
