"""What the demo shows: a bar, or lines where there is no terminal, that follow the events; the report's table."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from server import DemoError

from api_schemas.progress_texts import AND, doing, left, percent

# Ten seconds without a line look like a hang; a busy machine may be late by a second.
SILENCE_SECONDS = 8.0
BAR_WIDTH = 24


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


class View:
    """Where the demo's lines go; ``doing`` says what it is at until the next one, ``fraction`` how far the job is."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, *lines: Any) -> None:
        self._console.print(*lines)

    def doing(self, what: str, fraction: float | None = None) -> None:
        raise NotImplementedError


class Bar(View):
    """For a terminal: a live bar under the lines."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = (BarColumn(BAR_WIDTH), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._progress = Progress(SpinnerColumn(), *columns, console=console, transient=True)
        self._bar = self._progress.add_task("", total=1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def doing(self, what: str, fraction: float | None = None) -> None:
        self._progress.update(self._bar, description=what, completed=fraction)


class Heartbeat(View):
    """For a log: a line at least every ``silence`` seconds, by ``clock``, where nothing else was said.

    A thread of its own looks at the clock: the demo itself waits for other processes most of the time.
    """

    def __init__(
        self, console: Console, clock: Callable[[], float] = time.monotonic, silence: float = SILENCE_SECONDS
    ) -> None:
        super().__init__(console)
        self._clock, self._silence = clock, silence
        self._began = self._spoke = clock()
        self._now = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def say(self, *lines: Any) -> None:
        self._spoke = self._clock()
        super().say(*lines)

    def doing(self, what: str, fraction: float | None = None) -> None:
        self._now = what

    def beat(self) -> None:
        """Say what the demo is at, where it was silent for too long."""
        if self._clock() - self._spoke >= self._silence:
            self.say(f"  {self._clock() - self._began:4.0f} s  {self._now}")

    def _beat_on(self) -> None:
        while not self._ended.wait(self._silence / 10):
            self.beat()


def view_of(console: Console) -> View:
    return Bar(console) if console.is_terminal else Heartbeat(console)


def follow(view: View, happening: Iterable[dict[str, Any]]) -> None:
    """Show a job's events until it has ended: a line for each, but those of progress move the bar."""
    fraction, stage = 0.0, None
    for event in happening:
        data = event["data"]
        if event["type"] == "job.progress":
            fraction = data["fraction"]
            view.doing(far(stage, data), fraction)
            continue
        message = " ".join([event["message"], *filter(None, [data.get("side")])])
        view.say(f"  [dim]{event['number']:>4}[/] {event['type']:<15} {escape(message)}")
        if event["type"] == "job.stage" and not data["skipped"]:
            stage = data["stage"]
            view.doing(far(stage, {"fraction": fraction}), fraction)


def far(stage: str | None, progress: dict[str, Any]) -> str:
    """``61 %  6/11 recovering  step 120 of 480  loss 0.231  about 3 min left``."""
    at = doing(stage, progress.get("step"), progress.get("total_steps"), progress.get("loss"))
    return AND.join(filter(None, [percent(progress["fraction"]), at, left(progress.get("eta_seconds"))]))


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
        of = report["task"]["metrics_of"].get(name)
        table.add_row(f"{name} ({of})" if of else name, _score(one), _score(other), _share(one, other))
    for name, unit, scale in (("parameters", "M", 1e6), ("bytes", "MB", 1e6)):
        one, other = before[name], after[name]
        table.add_row(name, f"{one / scale:.1f} {unit}", f"{other / scale:.1f} {unit}", _share(one, other))
    for one, other in zip(before["latency"], after["latency"], strict=True):
        cell = f"p50, {one['batch_size']} × {one['sequence_length']} tokens"
        table.add_row(
            cell, f"{one['p50_ms']:.1f} ms", f"{other['p50_ms']:.1f} ms", _share(one["p50_ms"], other["p50_ms"])
        )
    return table


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(before: float | None, after: float | None) -> str:
    return f"{after / before:.1%}" if before and after is not None else "–"


def findings(report: dict[str, Any]) -> Iterator[str]:
    """What the table has no column for: training, retention, speed-up, verdict, verification, warnings."""
    recovery, splits = report["recovery"], report["data"]["splits"]
    scored = next(facts["rows"] for split, facts in splits.items() if split != "train")
    yield (
        f"training      {splits['train']['rows']} rows, {recovery['baseline_epochs']:g} epochs of the full model and "
        f"{recovery['epochs']:g} of the pruned one; scored on {scored} other rows"
    )
    if report["retention"] is not None:
        yield f"retention     {report['retention']:.1%} of the full model's score"
    if report["speedup"] is not None:
        yield f"speed-up      {report['speedup']:.2f} ×"
    yield f"verdict       {report['verdict']}"
    checks = report["verification"]["checks"]
    passed = sum(check["passed"] for check in checks)
    yield f"verification  {passed} of {len(checks)} checks passed: {', '.join(check['name'] for check in checks)}"
    yield from (f"warning       {warning}" for warning in report["warnings"])
