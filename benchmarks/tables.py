"""A table of gigabytes: checked as at POST, and read as a worker does, with the memory that each takes.

Goal: seconds at POST, and less than 1 GB. Writes a CSV and a Parquet file of made-up sentences, and has each step done
by a process of its own, turn about with `pandas.read_csv` and `read_parquet`, which check nothing.

Ends with one line of JSON: `post_seconds` and `megabytes`, the largest of both files, and `of_pandas`, the seconds of
the check of the CSV as a share of pandas'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
from _progress import at, machine
from rich.console import Console
from rich.table import Table

#: Bytes of the CSV, rows of the Parquet file, rounds.
SIZES = {True: (100_000_000, 500_000, 1), False: (2_000_000_000, 10_000_000, 3)}
LINES = """SELECT 'row ' || i || ': ' || repeat('some words, and "more" of them; ', 1 + i % 8) AS text,
           CASE WHEN i % 3 = 0 THEN 'neg' ELSE 'pos' END AS label FROM range({rows}) AS numbers(i)"""
#: Of a line of those, about.
LINE_BYTES = 165

TASK = "TaskSpec(dataset=name, text_columns=['text'], label_column='label')"
STEPS = {
    "POST": f"check_dataset({TASK}, settings)",
    "worker": f"load_task({TASK}, settings, 42)",
    "pandas": "(pandas.read_csv if name.endswith('csv') else pandas.read_parquet)(name)",
}
PROGRAM = """
import json, re, sys, time
name, step = sys.argv[1:]
{imports}
settings = SourceSettings(data_roots=[name.rpartition("/")[0]]) if step != "pandas" else None
began = time.perf_counter()
{work}
seconds = time.perf_counter() - began
# Not ru_maxrss, which a child takes over from its parent.
used = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000
print(json.dumps([seconds, used]))
"""
OURS = (
    "from sources.settings import SourceSettings\n"
    "from sources.tasks import check_dataset, load_task\n"
    "from api_schemas.task_spec import TaskSpec"
)


def write(folder: Path, csv_bytes: int, parquet_rows: int) -> list[Path]:
    files = [folder / "reviews.csv", folder / "reviews.parquet"]
    with duckdb.connect() as connection:
        for file, rows in zip(files, (csv_bytes // LINE_BYTES, parquet_rows), strict=True):
            connection.execute(f"COPY ({LINES.format(rows=rows)}) TO '{file}'")
    return files


def take(step: str, file: Path) -> tuple[float, float]:
    """Seconds and megabytes of a process that does nothing else."""
    program = PROGRAM.format(imports="import pandas" if step == "pandas" else OURS, work=STEPS[step])
    done = subprocess.run(
        [sys.executable, "-c", program, str(file), step], capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, used = json.loads(done.stdout)
    return seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="files of a twentieth, one round")
    csv_bytes, parquet_rows, rounds = SIZES[parser.parse_args().quick]
    machine()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="layercut-tables-") as folder:
        files = write(Path(folder), csv_bytes, parquet_rows)
        at(", ".join(f"{file.name}: {file.stat().st_size / 1e9:.2f} GB" for file in files))
        for _ in range(rounds):
            for file in files:
                for step in STEPS:
                    found.setdefault((file.name, step), []).append(take(step, file))
                    at(f"{file.name}, {step}: {found[file.name, step][-1][0]:.1f} s")
    seconds = {key: statistics.median(taken for taken, _ in cells) for key, cells in found.items()}
    memory = {key: max(used for _, used in cells) for key, cells in found.items()}
    table = Table(title=f"median seconds, and most megabytes, of {rounds} rounds")
    for heading in ("file", "step", "seconds", "MB"):
        table.add_column(heading)
    for (name, step), taken in seconds.items():
        table.add_row(name, step, f"{taken:.1f}", f"{memory[name, step]:.0f}")
    Console().print(table)
    figures = {
        "post_seconds": round(max(taken for (_, step), taken in seconds.items() if step == "POST"), 2),
        "megabytes": round(max(used for (_, step), used in memory.items() if step != "pandas")),
        "of_pandas": round(seconds["reviews.csv", "POST"] / seconds["reviews.csv", "pandas"], 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
