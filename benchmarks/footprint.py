"""What a gateway takes before it serves: bytes installed, and seconds to import.

1. *Installed*: the hashed list of the gateway's image and our own package, installed into a new environment as the
   image does it, without pip. Bytes on disk, by package. Goal: 260 MB, of the extra `gateway`; what the extra
   `figures` adds, which the image has as well and a gateway can do without, is told beside it.
2. *Imported*: `import service.app` in a new process, by turns with what the gateway builds on (FastAPI, uvicorn,
   SQLAlchemy, Celery, DuckDB: `PEER`), in that environment, its bytecode compiled. Goal: 1.2 s.

`--quick` measures the environment that it runs in: what is imported, and of what is installed the gateway's part.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from _progress import at
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[1]
LISTED = ROOT / "deploy" / "requirements-gateway.txt"
PEER = "import fastapi, uvicorn, sqlalchemy, celery, duckdb"
OURS = "import service.app"
GOAL_MB, GOAL_SECONDS = 260, 1.2
#: What the image takes away again after it has installed everything.
TAKEN_AWAY = {"pip", "setuptools"}


def installed_as_the_image(folder: Path) -> Path:
    """A new environment with what deploy/gateway.Dockerfile installs; its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LISTED)], check=True)
    subprocess.run([*pip, "--no-build-isolation", str(ROOT)], check=True, cwd=folder)
    return python


def of_extras(found: dict[NormalizedName, Distribution], *extras: str) -> set[NormalizedName]:
    """Names of layercut and of all that its ``extras`` need."""
    names, todo = set[NormalizedName](), [Requirement(f"layercut[{','.join(extras)}]")]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        # Of layercut itself both times: with the extra, and as the base that the extra names.
        if name not in found or (name in names and not wanted.extras):
            continue
        names.add(name)
        for line in found[name].requires or ():
            needed = Requirement(line)
            asked = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in asked):
                todo.append(needed)
    return names


def sizes(packages: Path) -> tuple[Counter[str], Counter[str]]:
    """Bytes of each distribution in ``packages`` that the gateway has, with its compiled bytecode; and of those that
    figures need beyond.
    """
    found = {canonicalize_name(one.name): one for one in distributions(path=[str(packages)])}
    gateway = of_extras(found, "gateway") - {canonicalize_name(name) for name in TAKEN_AWAY}
    figures = of_extras(found, "gateway", "figures") - gateway - {canonicalize_name(name) for name in TAKEN_AWAY}

    def weighed(names: set[NormalizedName]) -> Counter[str]:
        return Counter[str]({name: sum(_bytes(found[name])) for name in names})

    return weighed(gateway), weighed(figures)


def _bytes(one: Distribution) -> Iterator[int]:
    for file in one.files or ():
        path = Path(str(one.locate_file(file)))
        if path.is_file():
            yield path.stat().st_size


def seconds(python: Path, statement: str) -> float:
    # Away from the checkout, so that what is imported is what was installed. Without what Python takes to tidy up.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    timed = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    done = subprocess.run([str(python), "-c", timed], check=True, cwd="/", env=env, capture_output=True, text=True)
    return float(done.stdout)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="in this environment, five rounds")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="layercut-footprint-") as folder:
        python = Path(sys.executable)
        if not quick:
            at("installing what the gateway's image installs")
            python = installed_as_the_image(Path(folder) / "venv")
        packages = Path(
            subprocess.run(
                [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True, capture_output=True, text=True,
            ).stdout.strip()
        )  # fmt: skip
        at("the first import compiles")
        taken: dict[str, list[float]] = {OURS: [], PEER: []}
        for statement in taken:
            seconds(python, statement)
        at("imports by turns")
        for _ in range(5 if quick else 15):
            for statement, values in taken.items():
                values.append(seconds(python, statement))
        bytes_of, drawn_by = sizes(packages)
    megabytes = sum(bytes_of.values()) / 1e6
    print(f"installed: {megabytes:.0f} MB in {len(bytes_of)} packages; goal {GOAL_MB}")
    for name, count in bytes_of.most_common(12):
        print(f"  {count / 1e6:7.1f} MB  {name}")
    figures = sum(drawn_by.values()) / 1e6
    print(f"what figures add: {figures:.0f} MB in {len(drawn_by)} packages")
    for name, count in drawn_by.most_common():
        print(f"  {count / 1e6:7.1f} MB  {name}")
    print(f"import of service.app: {spread(taken[OURS])}; goal {GOAL_SECONDS}")
    print(f"... of what it builds on: {spread(taken[PEER])}")
    ratios = [ours / peer for ours, peer in zip(taken[OURS], taken[PEER], strict=True)]
    print(f"... ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps({
        "installed_mb": round(megabytes, 1), "figures_mb": round(figures, 1),
        "import_s": round(statistics.median(taken[OURS]), 3),
        "peer_s": round(statistics.median(taken[PEER]), 3), "ratio": round(statistics.median(ratios), 3),
        "quick": quick,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
