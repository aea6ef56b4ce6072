"""What an installation takes: megabytes of a client's and of a gateway's, and the seconds to import either.

Goals: a gateway of ≤ 260 MB that is imported in ≤ 1.2 s. Each is installed into a fresh virtual environment by pip, at
the versions of constraints.txt. Its size is what pip brought, as `du` counts it: pip and setuptools, which the
environment itself comes with, are not in it, as they are not in the gateway's image. The import is the last line of
`python -X importtime`, the median of several, with all bytecode compiled. It counts the machine's other work, too.

Ends with one line of JSON: the gateway's megabytes and seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

from _progress import at, machine
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
IMPORTS = {"": "layercut.client", "gateway": "service.app"}
ROUNDS = {True: 5, False: 15}
BLOCK = 512
_CUMULATIVE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|")


def copied(folder: Path) -> Path:
    """The packages, without what setuptools would leave beside them."""
    source = folder / "source"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    for name in (name.rstrip("*") for name in wanted):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    return source


def bytes_of(folder: Path) -> int:
    """On the disk, as ``du`` counts."""
    return sum(path.lstat().st_blocks * BLOCK for path in folder.rglob("*"))


class Installed:
    """A fresh environment with one extra, or none."""

    def __init__(self, source: Path, folder: Path, extra: str) -> None:
        self.extra = extra
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.python = folder / "bin" / "python"
        before = bytes_of(folder)
        wanted = f"{source}[{extra}]" if extra else str(source)
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-c", source / "constraints.txt", wanted], check=True, stderr=subprocess.DEVNULL)
        self.megabytes = (bytes_of(folder) - before) / 1e6
        self.packages = next(folder.glob("lib/python*/site-packages"))

    def largest(self) -> list[tuple[str, int]]:
        """What lies in site-packages, by its name up to the first mark."""
        sizes: Counter[str] = Counter()
        for path in self.packages.iterdir():
            sizes[re.split(r"[.-]", path.name.lstrip("_"))[0]] += (
                bytes_of(path) if path.is_dir() else path.stat().st_size
            )
        return [(name, size) for name, size in sizes.most_common(12) if name not in ("pip", "setuptools")]

    def seconds(self, rounds: int) -> float:
        """To import what the extra is for: the median."""
        command = [self.python, "-P", "-X", "importtime", "-c", f"import {IMPORTS[self.extra]}"]
        told = [subprocess.run(command, check=True, capture_output=True, text=True).stderr for _ in range(rounds + 1)]
        # The first one may compile.
        return statistics.median(int(_CUMULATIVE.findall(text)[-1]) for text in told[1:]) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer imports")
    quick = parser.parse_args().quick
    console = Console(highlight=False, soft_wrap=True)
    machine()
    table = Table("extra", "MB", "imported", "s", "largest, MB")
    found = {}
    with tempfile.TemporaryDirectory(prefix="layercut-footprint-") as folder:
        source = copied(Path(folder))
        for extra, imported in IMPORTS.items():
            at(f"installing {extra or 'a client alone'}")
            made = Installed(source, Path(folder) / (extra or "client"), extra)
            seconds = made.seconds(ROUNDS[quick])
            largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in made.largest()[:6])
            table.add_row(extra or "none", f"{made.megabytes:.0f}", imported, f"{seconds:.2f}", largest)
            found[extra] = {"megabytes": round(made.megabytes), "import_seconds": round(seconds, 2)}
    console.print(table)
    print(json.dumps(found["gateway"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
