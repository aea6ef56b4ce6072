"""What stock tools of npm say of the OpenAPI document: Spectral finds nothing, and a client for TypeScript works.

`make peers` installs them; the generator for Python is in ``test_generated_client.py``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.state import GatewayState
from tests.support.gateway_worker import FILES, claim, succeed

ROOT = Path(__file__).parents[2]
BIN = ROOT / "build/peers/node/node_modules/.bin"
STORY = Path(__file__).with_name("typescript") / "story.ts"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BIN / "spectral").exists(), reason="the tools are not there: make peers"),
]

COMPILE = """--strict --skipLibCheck --target es2022 --lib es2022,dom,dom.iterable --module commonjs
    --moduleResolution node --types node --outDir out story.ts"""


def run(name: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run([BIN / name, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_spectral_finds_nothing() -> None:
    said = run(
        "spectral", "lint", "docs/openapi.json", "--ruleset", ".spectral.yaml", "--fail-severity", "hint", folder=ROOT
    )
    assert "No results" in said


def test_a_client_for_typescript_from_a_request_to_its_files(
    live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Path
) -> None:
    address, state = live
    folder = tmp_path / "client"
    folder.mkdir()
    run("openapi-ts", "-i", str(ROOT / "docs/openapi.json"), "-o", "generated", "-c", "@hey-api/client-fetch",
        "--no-log-file", folder=folder)  # fmt: skip
    shutil.copy(STORY, folder)
    (folder / "node_modules").symlink_to(BIN.parent)
    run("tsc", *COMPILE.split(), folder=folder)

    with subprocess.Popen(
        ["node", "out/story.js", address, body["model"]], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        asked = json.loads(program.stdout.readline())
        assert asked["kept"] == [0, 1, 2, 3]
        taken = claim(state)
        assert taken.lease.job_id == asked["id"]
        succeed(state, taken, tmp_path / "scratch")
        done, refused = (json.loads(line) for line in program.stdout)
    assert program.returncode == 0
    assert done == {
        "status": "succeeded", "retention": 1.0, "dropped": [6, 7, 8, 9], "files": sorted(FILES), "whole": True,
    }  # fmt: skip
    assert refused == {"code": "invalid_layers", "pointer": "/prune/drop"}
