"""constraints.txt pins everything that an install of layercut brings, at the versions that these tests run with."""

from __future__ import annotations

from importlib.metadata import distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
EXTRAS = ("worker", "onnx", "demo", "dev")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): pin for name, pin in pairs}


def closure(extras: tuple[str, ...]) -> set[str]:
    """Every distribution that ``layercut[extras]`` needs here, by walking the installed metadata."""
    found: set[str] = set()
    todo = [("layercut", extras)]
    seen = set(todo)
    while todo:
        name, wanted = todo.pop()
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in wanted or ("",)):
                continue
            found.add(canonicalize_name(requirement.name))
            step = (requirement.name, tuple(sorted(requirement.extras)))
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return found


def test_everything_that_is_installed_is_pinned_at_its_version() -> None:
    needed = closure(EXTRAS)
    assert {"torch", "fastapi", "pytest"} <= needed
    installed = {name: Version(version(name)).public for name in needed - {"layercut"}}
    assert installed == {name: pin for name, pin in pins().items() if name in needed}


def test_torch_is_the_one_version_and_no_local_build() -> None:
    assert pins()["torch"] == "2.13.0"


def test_the_gateway_needs_neither_torch_nor_transformers() -> None:
    assert not closure(("gateway",)) & {"torch", "transformers", "tokenizers", "scikit-learn", "numpy", "pyarrow"}


def test_a_client_needs_no_part_of_a_service() -> None:
    needed = closure(())
    assert {"httpx", "pydantic", "typer", "rich"} <= needed
    assert not needed & {"fastapi", "sqlalchemy", "celery", "duckdb", "numpy", "huggingface-hub", "uvicorn"}
