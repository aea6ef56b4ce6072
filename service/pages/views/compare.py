"""Two jobs side by side: what was asked for differently, and what came of it, with the better one named in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from api_schemas.jobs import Job, Result
from api_schemas.metrics import METRICS
from service.pages.views.job import verdict_words
from service.pages.views.jobs import model_name, shortened
from service.pages.views.states import OUTCOMES, STATUSES, Word
from service.pages.views.strip import Strip, strip_of
from service.pages.words import NOTHING, duration, percent, score, short, size, times

#: Of one value that was asked for.
LONGEST = 300
#: Lines of what was asked for differently.
MOST_DIFFERENCES = 60


@dataclass(frozen=True)
class Side:
    letter: str
    id: str
    path: str
    name: str
    task: str
    status: Word
    strip: Strip | None
    outcome: Word | None
    verdict: str
    error: str


@dataclass(frozen=True)
class Difference:
    field: str
    a: str
    b: str


@dataclass(frozen=True)
class Line:
    """``better`` is a sentence; empty where neither is, or where they cannot be compared."""

    name: str
    a: str
    b: str
    better: str
    winner: str = ""


@dataclass(frozen=True)
class CompareView:
    a: Side
    b: Side
    same: bool
    differences: list[Difference]
    hidden: int
    lines: list[Line]
    note: str


def compare_view(a: Job, b: Job) -> CompareView:
    differences = list(_differences(_flat(a.request), _flat(b.request)))
    return CompareView(
        a=_side("A", a),
        b=_side("B", b),
        same=a.id == b.id,
        differences=differences[:MOST_DIFFERENCES],
        hidden=max(0, len(differences) - MOST_DIFFERENCES),
        lines=list(_lines(a, b)),
        note=_note(a, b),
    )


def _side(letter: str, job: Job) -> Side:
    result, plan = job.result, job.resolved.plan if job.resolved else None
    if result is not None:
        strip = strip_of(result.layers_total, result.layers_kept)
    else:
        strip = strip_of(plan.layers_total, plan.kept) if plan else None
    return Side(
        letter=letter,
        id=job.id,
        path=f"/ui/jobs/{job.id}",
        name=shortened(model_name(job.model)),
        task=shortened(job.task.rpartition("/")[2] or job.task),
        status=STATUSES[job.status],
        strip=strip,
        outcome=OUTCOMES[result.outcome] if result and result.outcome else None,
        verdict=verdict_words(result.verdict, result.outcome) if result else "",
        error=job.error.message if job.error else "",
    )


def _flat(value: Any, at: str = "") -> dict[str, str]:
    """Each value by its path, as in ``prune.drop``."""
    if isinstance(value, Mapping) and value:
        return {
            path: text
            for name, one in value.items()
            for path, text in _flat(one, f"{at}.{name}" if at else name).items()
        }
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {at: text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"}


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Difference]:
    for field in dict.fromkeys((*a, *b)):
        if a.get(field) != b.get(field):
            yield Difference(field, a.get(field, NOTHING), b.get(field, NOTHING))


@dataclass(frozen=True)
class _Measure:
    """``of`` finds its value; ``words`` says what being better is called."""

    name: str
    of: Callable[[Result], float | None]
    shown: Callable[[float | None], str]
    words: str
    higher: bool


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} ms"


_MEASURES = (
    _Measure("Layers kept", lambda found: len(found.layers_kept), lambda value: f"{value or 0:.0f}", "", higher=False),
    _Measure("Parameters after", lambda found: found.parameters_after, short, "smaller", higher=False),
    _Measure("Weights after", lambda found: found.bytes_after, size, "smaller", higher=False),
    _Measure("Score of the full model", lambda found: found.score_before, score, "", higher=True),
    _Measure("Score after", lambda found: found.score_after, score, "better score", higher=True),
    _Measure("Retention", lambda found: found.retention, percent, "keeps more", higher=True),
    _Measure("Speed-up", lambda found: found.speedup, times, "gains more", higher=True),
    _Measure("Latency after", lambda found: found.latency_ms_after, _milliseconds, "faster", higher=False),
)  # fmt: skip
#: Measures that say something only where both were scored alike, and where both were timed on one device.
_SCORED, _TIMED = ("Score of the full model", "Score after"), ("Latency after",)


def _lines(a: Job, b: Job) -> Iterator[Line]:
    if a.result is not None or b.result is not None:
        yield from (_line(measure, a, b) for measure in _MEASURES)
    took = [job.usage.wall_seconds if job.usage else None for job in (a, b)]
    if any(took):
        yield Line("Time of the last attempt", duration(took[0]), duration(took[1]), "")


def _line(measure: _Measure, a: Job, b: Job) -> Line:
    values = [measure.of(job.result) if job.result else None for job in (a, b)]
    shown = [measure.shown(value) if value is not None else NOTHING for value in values]
    winner = _winner(measure, values, a, b) if shown[0] != shown[1] else ""
    equal = "alike" if shown[0] == shown[1] != NOTHING and measure.words else ""
    return Line(measure.name, shown[0], shown[1], f"{winner}: {measure.words}" if winner else equal, winner)


def _winner(measure: _Measure, values: list[float | None], a: Job, b: Job) -> str:
    one, other = values
    if not measure.words or one is None or other is None or one == other:
        return ""
    if measure.name in _SCORED and not _scored_alike(a, b):
        return ""
    if measure.name in _TIMED and not _timed_alike(a, b):
        return ""
    metric = METRICS.get(a.result.metric or "") if a.result else None
    higher = metric.higher_is_better if measure.name in _SCORED and metric else measure.higher
    return "A" if (one > other) == higher else "B"


def _scored_alike(a: Job, b: Job) -> bool:
    return a.task == b.task and bool(a.result and b.result) and a.result.metric == b.result.metric  # type: ignore[union-attr]


def _timed_alike(a: Job, b: Job) -> bool:
    return bool(a.result and b.result and a.result.device) and a.result.device == b.result.device  # type: ignore[union-attr]


def _note(a: Job, b: Job) -> str:
    if a.result is None or b.result is None:
        return ""
    said = []
    if not _scored_alike(a, b) and (a.result.metric or b.result.metric):
        said.append("Their scores are of different tasks or metrics, so neither is called better")
    if not _timed_alike(a, b) and a.result.latency_ms_after and b.result.latency_ms_after:
        said.append("they were timed on different devices, so neither is called faster")
    return "; ".join(said)
