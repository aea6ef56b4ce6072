"""What a gateway takes: nothing of a worker's, and what few requests need not before one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pandas
import pytest

from tests.support.gateway_process import gateway_process
from tests.support.live_gateway import bert
from tests.support.serve_process import environment

#: What no gateway imports, and is not installed with it.
WORKERS = ("torch", "transformers", "numpy", "scipy", "sklearn", "pyarrow", "pandas", "tokenizers", "safetensors")
#: What the first request that needs it imports.
LATER = (
    "duckdb",
    "alembic",
    "psycopg",
    "celery",
    "huggingface_hub.hf_api",
    "huggingface_hub.file_download",
    "obstore.fsspec",
)


def test_importing_the_gateway_imports_nothing_that_it_can_do_without() -> None:
    code = "import sys, service.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) & {*WORKERS, *LATER} == set()


@pytest.mark.slow
def test_a_gateway_reads_models_and_tables_where_a_worker_s_libraries_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tables, hooks = (tmp_path / name for name in ("models", "tables", "hooks"))
    for folder in (models, tables, hooks):
        folder.mkdir()
    # None in sys.modules is how Python marks a module that is not there.
    (hooks / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({WORKERS!r}))\n")
    monkeypatch.syspath_prepend(hooks)
    model = bert(models / "bert")
    frame = pandas.DataFrame({"text": [f"row {n}" for n in range(40)], "label": [n % 2 for n in range(40)]})
    frame.to_csv(tables / "rows.csv", index=False)
    frame.to_json(tables / "rows.jsonl", orient="records", lines=True)
    frame.to_parquet(tables / "rows.parquet")
    with gateway_process(tmp_path, model_roots=models, data_roots=tables) as port:
        url = f"http://127.0.0.1:{port}/v1"
        for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
            task = {"dataset": str(tables / name), "text_columns": ["text"], "label_column": "label"}
            body = {"model": str(model), "task": task, "prune": {"drop": 1}}
            answer = httpx.post(f"{url}/jobs?validate_only=true", json=body, trust_env=False, timeout=60)
            assert answer.status_code == httpx.codes.OK, answer.text
            assert answer.json()["estimate"], answer.text
        body = {"model": str(model), "prune": {"strategy": "contribution", "drop": 2}, "task": "none"}
        assert httpx.post(f"{url}/plans", json=body, trust_env=False, timeout=60).status_code == httpx.codes.OK
        with (tables / "rows.parquet").open("rb") as file:
            sent = httpx.post(f"{url}/datasets", files={"file": file}, trust_env=False, timeout=60)
        assert sent.json()["inspection"]["rows"] == 40, sent.text
