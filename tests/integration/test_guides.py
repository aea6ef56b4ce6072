"""The guides of docs/guides, run as they stand, against a service that does their jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from tests.support.guides import ROOT, blocks, environment, fill
from tests.support.serve_process import Served

pytestmark = pytest.mark.slow

PEERS = ROOT / "build/peers"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The same baseline is made once for all of them.
    served = Served(tmp_path_factory.mktemp("served"))
    try:
        yield served
    finally:
        served.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def run(command: list[str | Path], folder: Path, served: Served, **more: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(served, **more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def check_small(folder: Path) -> None:
    """It is the model, whole, with four of its six layers."""
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 4
    names = load_file(folder / "model.safetensors")
    assert sum(name.endswith("attention.self.query.weight") for name in names) == 4


def program(folder: Path, guide: str) -> Path:
    (code,) = blocks(guide, "python")
    (folder / "guide.py").write_text(code, encoding="utf-8")
    return folder / "guide.py"


def test_a_shell(folder: Path, served: Served) -> None:
    said = run(["bash", "-euo", "pipefail", "-c", "\n".join(blocks("curl", "bash"))], folder, served)
    assert '"message":"recovering  step ' in said
    assert "model.safetensors: OK" in said
    check_small(folder / "small")


@pytest.mark.long
def test_a_program(folder: Path, served: Served) -> None:
    said = run([sys.executable, program(folder, "python")], folder, served)
    assert "['text', 'label'] 60" in said
    assert "layers that go: [4, 5]" in said
    assert "6 layers -> 4, score " in said
    check_small(folder / "small")


@pytest.mark.long
def test_github_actions(folder: Path, served: Served) -> None:
    """Its steps as a runner takes them; those that use an action of another's are that action's."""
    (request,), (workflow,) = blocks("github-actions", "json"), blocks("github-actions", "yaml")
    (folder / "shrink.json").write_text(request, encoding="utf-8")
    steps = [step for step in yaml.safe_load(workflow)["jobs"]["shrink"]["steps"] if "run" in step]
    install, shrink = (step["run"] for step in steps)
    assert install == "pip install layercut"  # it is what this test runs in
    run(["bash", "-eo", "pipefail", "-c", shrink], folder, served)
    check_small(folder / "small")


@pytest.mark.long
@pytest.mark.skipif(not (PEERS / "airflow/.installed").exists(), reason="Airflow is not there: make guide-tools")
def test_airflow(folder: Path, served: Served) -> None:
    dags = folder / "dags"
    dags.mkdir()
    home = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
    }
    run([PEERS / "airflow/bin/airflow", "db", "migrate"], folder, served, **home)
    run([PEERS / "airflow/bin/python", program(dags, "airflow")], folder, served, **home)
    check_small(folder / "small")


@pytest.mark.long
@pytest.mark.skipif(not (PEERS / "kfp/.installed").exists(), reason="Kubeflow Pipelines is not there: make guide-tools")
def test_kubeflow(folder: Path, served: Served) -> None:
    path = f"{PEERS / 'kfp/bin'}:/usr/bin:/bin"
    run([PEERS / "kfp/bin/python", program(folder, "kubeflow")], folder, served, PATH=path)
    (config,) = folder.glob("local_outputs/*/shrink/smaller/config.json")
    check_small(config.parent)
