"""A machine with a client alone: `pip install layercut`, without torch and without any part of a service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh_venv import fresh_venv
from tests.support.gateway_process import gateway_process
from tests.support.live_gateway import bert

STORY = """
import asyncio, sys
from layercut.client import AsyncClient, Client
import layercut
assert layercut.__version__
url, model = sys.argv[1:]
with Client(url) as client:
    job = client.submit(model=client.upload_model(model).source, task="none", prune={"strategy": "top", "drop": 2})
async def look():
    async with AsyncClient(url) as client:
        return [found.id async for found in client.list()]
assert asyncio.run(look()) == [job.id]
print(job.resolved.plan.dropped)
"""


@pytest.fixture(scope="module")
def bin_of_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_venv(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gateway_process(tmp_path_factory.mktemp("gateway")) as port:
        yield f"http://127.0.0.1:{port}"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """With no variable of this process's: what is found is what is installed."""
    return subprocess.run(
        [program, *map(str, arguments)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.long
def test_it_has_a_client_and_no_part_of_a_service(bin_of_client: Path) -> None:
    listed = json.loads(run(bin_of_client / "pip", "list", "--format", "json").stdout)
    there = {row["name"].lower() for row in listed}
    assert {"layercut", "httpx", "pydantic", "typer", "rich"} <= there
    assert not there & {"torch", "fastapi", "sqlalchemy", "celery", "numpy", "duckdb", "huggingface-hub", "pyyaml"}
    packages = next(bin_of_client.parent.glob("lib/python*/site-packages"))
    assert (packages / "layercut" / "py.typed").is_file()
    assert (packages / "api_schemas" / "py.typed").is_file()


@pytest.mark.slow
@pytest.mark.long
def test_it_sends_a_model_and_asks_for_a_job(bin_of_client: Path, url: str, tmp_path: Path) -> None:
    done = run(bin_of_client / "python", "-P", "-c", STORY, url, bert(tmp_path / "bert"))
    assert done.stdout == "[4, 5]\n", done.stderr
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "bert", "task": "none", "prune": {"strategy": "top", "drop": 1}}))
    done = subprocess.run(
        [bin_of_client / "layercut", "submit", "job.json", "--upload", "--url", url],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("job_"), done.stderr
    assert len(run(bin_of_client / "layercut", "list", "--json", "--url", url).stdout.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["serve"], "worker"), (["worker"], "worker"), (["run", __file__, "--out", "out"], "worker"),
        (["gateway"], "gateway"), (["keys", "list"], "gateway"), (["tenants", "list"], "gateway"),
        (["audit"], "gateway"),
    ],
)  # fmt: skip
def test_what_it_lacks_it_says_how_to_get(bin_of_client: Path, command: list[str], extra: str) -> None:
    done = run(bin_of_client / "layercut", *command)
    assert done.returncode == 1
    assert f"pip install 'layercut[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
