"""An installation as a user makes it: a virtual environment of its own, with layercut and what it asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fresh_venv(folder: Path, extra: str = "") -> Path:
    """Its ``bin``. Skips the test where pip cannot reach a registry."""
    source, venv = folder / "source", folder / "venv"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    source.mkdir(parents=True)
    # A copy: setuptools builds in the folder that it is given.
    for name in packages:
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name.rstrip("*"), source / name.rstrip("*"), ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "pip", "--disable-pip-version-check", "install", "--quiet", "--retries", "1"]
    wanted = f"{source}[{extra}]" if extra else str(source)
    done = subprocess.run([*pip, "-c", source / "constraints.txt", wanted], capture_output=True, text=True, check=False)
    if done.returncode and ("No matching distribution" in done.stderr or "onnection" in done.stderr):
        pytest.skip(f"pip reaches no registry: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return venv / "bin"
