"""What the demo shows: a bar that follows the event stream, and the table of the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from server import DemoError


def events(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    """The events of a job as they happen: the ``data:`` lines of the stream. It ends with the job."""
    headers = {"Accept": "text/event-stream"}
    with client.stream("GET", url, headers=headers, timeout=httpx.Timeout(60, read=120)) as stream:
        if not stream.is_success:
            stream.read()
            raise DemoError(f"GET {url} was answered {stream.status_code}: {stream.text}")
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def follow(console: Console, client: httpx.Client, url: str) -> None:
    """Show a job until it has ended: a line a stage, and a bar with the step and the time that is left."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued", total=1.0, detail="")
        for event in events(client, url):
            data = event["data"]
            if event["type"] == "job.progress":
                progress.update(bar, completed=data["fraction"], detail=_detail(data))
                continue
            message = " ".join([event["message"], *filter(None, [data.get("side")])])
            console.print(f"  [dim]{event['number']:>3}[/] {event['type']:<15} {message}")
            if event["type"] == "job.stage" and not data["skipped"]:
                progress.update(bar, description=data["stage"], detail="")
        progress.update(bar, description="ended", detail="")


def _detail(progress: dict[str, Any]) -> str:
    step, total, left = progress.get("step"), progress.get("total_steps"), progress.get("eta_seconds")
    steps = f"step {step}/{total}" if step and total else ""
    return steps if left is None else f"{steps} about {left:.0f} s left"


def before_and_after(report: dict[str, Any]) -> Table:
    """The report as a table for people."""
    before, after, layers = report["before"], report["after"], report["layers"]
    table = Table(title=f"{report['strategy']['name']}: layers {layers['dropped']} of {layers['total']} dropped")
    for heading in ("", "before", "after", "after / before"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        "layers", str(layers["total"]), str(len(layers["kept"])), _share(layers["total"], len(layers["kept"]))
    )
    for name in before["metrics"]:
        one, other = before["metrics"][name], after["metrics"][name]
        table.add_row(name, f"{one:.2f}", f"{other:.2f}", _share(one, other))
    for name, unit, scale in (("parameters", "M", 1e6), ("bytes", "MB", 1e6)):
        one, other = before[name], after[name]
        table.add_row(name, f"{one / scale:.1f} {unit}", f"{other / scale:.1f} {unit}", _share(one, other))
    for one, other in zip(before["latency"], after["latency"], strict=True):
        cell = f"p50, {one['batch_size']} × {one['sequence_length']} tokens"
        table.add_row(
            cell, f"{one['p50_ms']:.1f} ms", f"{other['p50_ms']:.1f} ms", _share(one["p50_ms"], other["p50_ms"])
        )
    return table


def _share(before: float, after: float) -> str:
    return f"{after / before:.1%}" if before else "–"


def findings(report: dict[str, Any]) -> Iterator[str]:
    """What the table has no column for: retention, speed-up, verdict, verification, warnings."""
    if report["retention"] is not None:
        yield f"retention     {report['retention']:.1%} of the full model's score"
    if report["speedup"] is not None:
        yield f"speed-up      {report['speedup']:.2f} ×"
    yield f"verdict       {report['verdict']}"
    checks = report["verification"]["checks"]
    passed = sum(check["passed"] for check in checks)
    yield f"verification  {passed} of {len(checks)} checks passed: {', '.join(check['name'] for check in checks)}"
    yield from (f"warning       {warning}" for warning in report["warnings"])
