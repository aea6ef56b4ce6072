"""schemathesis, with all its checks, against a gateway with a worker: no 5xx, and nothing that the document denies.

``LAYERCUT_ATTACK_MINUTES`` says how long; half a minute by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serve_process import served

pytestmark = pytest.mark.attack

MINUTES = float(os.environ.get("LAYERCUT_ATTACK_MINUTES", "0.5"))
#: A short run is the same each time; a long one looks for what is not known yet.
SEED = ["--seed", "1"] if MINUTES < 1 else []

# 422 is what a well-formed request gets for what no schema can tell: that there is such a model, that its layers can
# be dropped, that the parts of a request go together. 413 and 507: of the bytes that an upload is announced with, which
# are more than are taken, or than this disk has room for.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "413", "422", "429", "507"]
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "507"]
"""


@pytest.mark.timeout(MINUTES * 60 + 240)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with served(tmp_path) as server:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run",
                f"{server.client.base_url}/openapi.json", "--checks", "all", "--max-time", str(round(MINUTES * 60)),
                "--max-examples", str(round(100 * max(MINUTES, 1))), *SEED, "--request-timeout", "20", "--no-color",
            ],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
        assert server.client.get("/readyz").status_code == 200
