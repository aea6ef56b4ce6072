"""Asks a server every call once, and keeps its answers as the examples of the OpenAPI document (`make openapi`).

A job of the packaged model is run for it: two of six layers gone, one epoch. Answers that are kept already stay, unless
``--all`` is given: then all are renewed. It ends with ``docs/openapi.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from samples import copy_model, write_tweets
from server import serve

from service.answer_examples import FILE, answered, answers
from service.app import create_app
from service.settings import GatewaySettings

DOCUMENT = Path(__file__).parents[1] / "docs/openapi.json"

JSON = "application/json"
#: Of a list in an example, and characters of a text.
MOST, LONGEST = 2, 1200
#: Lists that would be wrong if they were cut.
WHOLE = ("kept", "dropped", "layers_kept", "layers_dropped", "files", "batch_sizes", "sequence_lengths", "text_columns")
SECRET = re.compile(r"((?:lc_[0-9A-Za-z]+_|whsec_)....)\S+")


class Call(NamedTuple):
    """``key`` is that of an answer, without its media type; without a status, the answer is no example. ``path`` may
    name what earlier calls gave, as ``gives`` names the id. ``until``: asked again until the job has that status.
    """

    key: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    accept: str = JSON
    gives: str | None = None
    until: str | None = None
    #: Sent as a form, or as they are.
    files: tuple[Path, ...] = ()
    content: bytes | None = None


def request(folder: Path) -> dict[str, Any]:
    """The job that most answers are about."""
    tweets = {"dataset": str(folder / "data/tweets.csv"), "text_columns": ["text"], "label_column": "sentiment"}
    return {
        "model": str(folder / "models/all-MiniLM-L6-v2"),
        "task": {**tweets, "max_train_rows": 320},
        "prune": {"strategy": "top", "drop": 2},
        "recovery": {"epochs": 1},
        "evaluation": {"latency": {"batch_sizes": [1], "sequence_lengths": [32]}},
        "metadata": {"team": "search"},
    }


def calls(folder: Path, receiver: str) -> list[Call]:
    job = request(folder)
    slow = {**job, "metadata": {"team": "ads"}}
    hook = {"url": receiver, "events": ["job.succeeded", "job.failed"]}
    key = {"name": "nightly pipeline", "scope": "submit"}
    jobs, hooks = "/v1/jobs", "/v1/webhooks"
    return [
        Call("healthz 200", "GET", "/healthz"),
        Call("version 200", "GET", "/version"),
        Call("get_problem 200", "GET", "/problems/invalid-layers"),
        Call("list_strategies 200", "GET", "/v1/strategies"),
        Call("list_tasks 200", "GET", "/v1/tasks"),
        Call("list_architectures 200", "GET", "/v1/architectures"),
        Call("list_formats 200", "GET", "/v1/formats"),
        Call("list_limits 200", "GET", "/v1/limits"),
        Call("create_plan 200", "POST", "/v1/plans", {key: job[key] for key in ("model", "task", "prune")}),
        Call("create_job 200", "POST", f"{jobs}?validate_only=true", job),
        Call("create_webhook 201", "POST", hooks, hook, gives="webhook"),
        Call("create_job 202", "POST", jobs, job, gives="job"),
        Call("create_job", "POST", jobs, slow, gives="other"),
        Call("cancel_job 200", "POST", f"{jobs}/{{other}}/cancel"),
        Call("retry_job 202", "POST", f"{jobs}/{{other}}/retry"),
        Call("get_job", "GET", f"{jobs}/{{job}}", until="running"),
        Call("list_workers 200", "GET", "/v1/workers"),
        Call("readyz 200", "GET", "/readyz"),
        Call("get_job", "GET", f"{jobs}/{{job}}", until="succeeded"),
        Call("get_job", "GET", f"{jobs}/{{other}}", until="running"),
        Call("cancel_job 202", "POST", f"{jobs}/{{other}}/cancel"),
        Call("cancel_jobs 200", "POST", f"{jobs}/cancel", {"metadata": {"team": "ads"}}),
        Call("list_jobs 200", "GET", f"{jobs}?limit=1&status=succeeded"),
        Call("get_job 200", "GET", f"{jobs}/{{job}}"),
        Call("list_events 200", "GET", f"{jobs}/{{job}}/events"),
        Call("read_log 200", "GET", f"{jobs}/{{job}}/logs"),
        Call("read_log 200", "GET", f"{jobs}/{{job}}/logs", accept="text/plain"),
        Call("get_report 200", "GET", f"{jobs}/{{job}}/report"),
        Call("get_report 200", "GET", f"{jobs}/{{job}}/report", accept="text/markdown"),
        Call("list_files 200", "GET", f"{jobs}/{{job}}/files"),
        Call("list_webhooks 200", "GET", hooks),
        Call("get_webhook 200", "GET", f"{hooks}/{{webhook}}"),
        Call("test_webhook 200", "POST", f"{hooks}/{{webhook}}/test", gives="delivery"),
        Call("list_deliveries 200", "GET", f"{hooks}/{{webhook}}/deliveries"),
        Call("redeliver 202", "POST", f"{hooks}/{{webhook}}/deliveries/{{delivery}}/redeliver"),
        Call("change_webhook 200", "PATCH", f"{hooks}/{{webhook}}", {"events": ["job.succeeded"]}),
        Call("rotate_webhook_secret 200", "POST", f"{hooks}/{{webhook}}/rotate"),
        Call("create_webhook_secret 201", "POST", "/v1/webhook-secret"),
        Call("create_key 201", "POST", "/v1/keys", key, gives="key"),
        Call("list_keys 200", "GET", "/v1/keys"),
        Call("rotate_key 201", "POST", "/v1/keys/{key}/rotate?grace_seconds=3600"),
        Call("revoke_key 200", "DELETE", "/v1/keys/{key}"),
        Call("list_audit 200", "GET", "/v1/audit?limit=2"),
    ]


def studies(folder: Path) -> list[Call]:
    """A small one, which trains nothing."""
    lists: dict[str, Any] = {
        "models": [str(folder / "models/all-MiniLM-L6-v2")],
        "tasks": ["none"],
        "strategies": ["top", "bottom"],
        "drops": [2],
    }
    asked = {"name": "where to cut", **lists}
    one, csv, markdown = "/v1/studies/{study}", "text/csv", "text/markdown"
    return [
        Call("create_study 200", "POST", "/v1/studies?validate_only=true", asked),
        Call("create_study 202", "POST", "/v1/studies", asked, gives="study"),
        Call("get_study", "GET", one, until="finished"),
        Call("get_study 200", "GET", one),
        Call("get_study 200", "GET", one, accept=csv),
        Call("get_study 200", "GET", one, accept=markdown),
        Call("get_study_csv 200", "GET", f"{one}/table.csv", accept=csv),
        Call("get_study_markdown 200", "GET", f"{one}/table.md", accept=markdown),
        Call("list_studies 200", "GET", "/v1/studies"),
        Call("pick_jobs 200", "GET", f"{one}/pick"),
        Call("add_study_cells 202", "POST", f"{one}/cells", {**lists, "drops": [3]}),
        Call("cancel_study 200", "POST", f"{one}/cancel"),
        Call("resume_study 202", "POST", f"{one}/resume", {"budget": {"jobs": 4}}),
    ]


def uploads(folder: Path) -> list[Call]:
    """Both ways of sending: at once, and file by file."""
    table, model = folder / "data/tweets.csv", folder / "models/all-MiniLM-L6-v2"
    config = model / "config.json"
    to_come = {"files": [{"name": "tweets.csv", "bytes": table.stat().st_size}], "name": "tweets"}
    part = {"files": [{"name": "config.json", "bytes": config.stat().st_size}]}
    whole = tuple(model / name for name in ("config.json", "tokenizer.json", "model.safetensors"))
    sets, models = "/v1/datasets", "/v1/models"
    return [
        Call("create_dataset 201", "POST", sets, files=(table,), gives="dataset"),
        Call("get_dataset 200", "GET", f"{sets}/{{dataset}}"),
        Call("create_dataset", "POST", sets, to_come, gives="parts"),
        Call("send_dataset_file 200", "PUT", f"{sets}/{{parts}}/files/tweets.csv", content=table.read_bytes()),
        Call("complete_dataset 200", "POST", f"{sets}/{{parts}}/complete"),
        Call("list_datasets 200", "GET", f"{sets}?limit=1"),
        Call("create_model 201", "POST", models, files=whole, gives="model"),
        Call("complete_model 200", "POST", f"{models}/{{model}}/complete"),
        Call("get_model 200", "GET", f"{models}/{{model}}"),
        Call("list_models 200", "GET", f"{models}?limit=1"),
        Call("create_model", "POST", models, part, gives="model_parts"),
        Call("send_model_file 200", "PUT", f"{models}/{{model_parts}}/files/config.json", content=config.read_bytes()),
    ]


def ask(client: httpx.Client, asked: list[Call]) -> dict[str, Any]:
    """The answers, by the keys of ``service.answer_examples``."""
    found, names = dict[str, Any](), dict[str, str]()
    for call in asked:
        path = call.path.format(**names)
        answer = _answer(client, call, path)
        body = answer.json() if call.accept == JSON else answer.text
        if call.gives:
            names[call.gives] = body["id"]
        if " " in call.key:
            found[f"{call.key} {call.accept}"] = body
    return found


def _answer(client: httpx.Client, call: Call, path: str) -> httpx.Response:
    files = [("file", (file.name, file.read_bytes())) for file in call.files] or None
    headers = {"Accept": call.accept, "Prefer": "wait=10"}
    answer = client.request(call.method, path, json=call.body, files=files, content=call.content, headers=headers)
    if not answer.is_success or (" " in call.key and str(answer.status_code) != call.key.split()[1]):
        raise SystemExit(f"{call.method} {path} was answered {answer.status_code}: {answer.text}")
    if call.until is None or answer.json()["status"] == call.until:
        return answer
    if answer.json()["status"] in ("failed", "cancelled"):
        raise SystemExit(f"{path} is not {call.until}: {answer.text}")
    time.sleep(0.2)  # what takes no Prefer is answered at once
    return _answer(client, call, path)


def short(value: Any, folder: Path, name: str = "") -> Any:
    """``value`` as an example: long lists and texts cut, and nothing of the machine that it was made on."""
    if isinstance(value, dict):
        return {key: short(inner, folder, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [short(inner, folder) for inner in (value if name in WHOLE else value[:MOST])]
    if not isinstance(value, str):
        return value
    # A key or a secret of a server that is gone by now; a scanner of the repository could not know that.
    text = SECRET.sub(r"\1…", value.replace(str(folder), "").replace(socket.gethostname(), "worker-1"))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n…"


@contextmanager
def receiver() -> Iterator[str]:
    """The address of a webhook's endpoint, which says yes to whatever comes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hooks/layercut"
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="renew also what is kept already")
    kept = {} if parser.parse_args().all else answers()
    wanted = [key for key, content in answered(_document()) if "example" not in content and key not in kept]
    if wanted:
        kept = {key: value for key, value in {**_asked(), **kept}.items()}
        FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missing = [key for key in wanted if key not in kept]
    if missing:
        raise SystemExit(f"no call of demo/answers.py is answered by: {', '.join(missing)}")
    DOCUMENT.write_text(json.dumps(_document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _asked() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, receiver() as address:
        folder = Path(name)
        for part in ("models", "data"):
            (folder / part).mkdir()
        copy_model(folder / "models/all-MiniLM-L6-v2")
        write_tweets(folder / "data/tweets.csv")
        more = {"LAYERCUT_WEBHOOK_HOSTS": "127.0.0.1", "LAYERCUT_WEBHOOK_PLAIN_HTTP": "true"}
        with serve(folder, folder / "models", folder / "data", more) as client:
            found = ask(client, [*calls(folder, address), *studies(folder), *uploads(folder)])
        return {key: short(value, folder) for key, value in found.items()}


def _document() -> dict[str, Any]:
    return create_app(GatewaySettings(_env_file=None)).openapi()


if __name__ == "__main__":
    main()
