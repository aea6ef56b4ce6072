"""What others have published of dropping layers: ``published.json``, and the number of one cell.

Only what is printed, or measured off a figure, with its source. Nothing is filled in: where there is no number of that
very cell, there is none.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.studies.shown import PublishedNumber


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Fact):
    title: str
    by: str
    where: str
    notes: list[str]


class PublishedModel(_Fact):
    """``name`` is the paper's, ``hub`` the ids that may be it."""

    name: str
    layers: int
    hub: list[str]
    note: str | None


class PublishedTask(_Fact):
    """``metrics``: those that its scores may be compared in. Only ``stable`` ones are in tables 2, 4 and 5."""

    name: str
    metrics: list[str]
    stable: bool
    note: str | None


class _Table(_Fact):
    """``source`` is a key of ``sources``, ``at`` where it stands there, ``read`` how it was read."""

    source: str
    at: str
    read: str
    notes: list[str]


class Scores(_Fact):
    """Of a model without its top ``dropped`` layers, one a task."""

    model: str
    dropped: int
    scores: list[float | None]


class CellNote(_Fact):
    model: str
    dropped: int
    task: str
    note: str


class TopTable(_Table):
    tasks: list[str]
    rows: list[Scores]
    cell_notes: list[CellNote]


class AveragesTable(_Table):
    """Means over tasks, one a strategy."""

    strategies: list[str]
    rows: list[Scores]
    full: dict[str, float]


class Droppable(_Fact):
    """Layers that may go from the top for a loss of at most ``loss`` points, one a task."""

    model: str
    loss: int
    layers: list[int]


class DroppableTable(_Table):
    tasks: list[str]
    rows: list[Droppable]


class Speed(_Fact):
    """``loss`` in points of the mean, ``finetuning`` times as fast, ``inference_time`` in percent of the full one's."""

    model: str
    dropped: int
    loss: float
    parameters_millions: int
    finetuning: float
    inference_time: int | None


class SpeedTable(_Table):
    rows: list[Speed]


class DistilledTable(_Table):
    tasks: list[str]
    rows: list[Scores]


class DroppedFrom(_Fact):
    model: str
    from_: Literal["pre-trained", "fine-tuned"] = Field(alias="from")
    scores: list[float]


class OrderTable(_Table):
    dropped: int
    tasks: list[str]
    rows: list[DroppedFrom]


class OfPairs(_Fact):
    model: str
    scores: list[float]


class PairsTable(_Table):
    dropped: int
    tasks: list[str]
    columns: list[str]
    rows: list[OfPairs]


class Published(_Fact):
    sources: dict[str, Source]
    models: list[PublishedModel]
    tasks: dict[str, PublishedTask]
    top: TopTable
    averages: AveragesTable
    droppable: DroppableTable
    speed: SpeedTable
    distilled: DistilledTable
    order: OrderTable
    pairs: PairsTable

    def model_of(self, hub_id: str) -> PublishedModel | None:
        return next((model for model in self.models if hub_id in model.hub), None)

    def cite(self, table: _Table) -> str:
        source = self.sources[table.source]
        return f"{source.by}, {source.where}, {table.at} ({table.read})"


@cache
def published() -> Published:
    """The whole of ``published.json``, read once."""
    return Published.model_validate_json(files(__package__).joinpath("published.json").read_bytes())


#: What is said where ours was mended otherwise than the paper's, which fine-tunes. Nothing is published of `none`.
RECOVERIES = {"finetune": None, "distill": "the paper fine-tunes, and this row distils"}
RECOVERIES["auto"] = RECOVERIES["distill"]


# Asked for each row of each table that is shown; bounded, as users name models as they like.
@lru_cache(maxsize=4096)
def published_of(
    model: str,
    task: str,
    strategy: str,
    dropped_count: int,
    layers_total: int,
    *,
    metric: str | None,
    recovery_method: str,
) -> PublishedNumber | None:
    """The number of that very cell; None where there is none. ``metric`` None: not known yet, the task's own."""
    facts = published()
    known, described = facts.model_of(model), facts.tasks.get(task)
    if known is None or described is None or known.layers != layers_total:
        return None
    if strategy != "top" or recovery_method not in RECOVERIES or dropped_count < 1:
        return None
    if metric is not None and metric not in described.metrics:
        return None
    score, baseline = top_score(known.name, dropped_count, task), top_score(known.name, 0, task)
    if score is None or baseline is None:
        return None
    of_cell = (known.name, dropped_count, task)
    notes = [
        RECOVERIES[recovery_method],
        *(note.note for note in facts.top.cell_notes if (note.model, note.dropped, note.task) == of_cell),
        described.note,
        known.note,
        "one run",
    ]
    return PublishedNumber(
        score=score,
        baseline=baseline,
        retention=round(score / baseline, 4),
        source=facts.cite(facts.top),
        note="; ".join(note for note in notes if note),
    )


def top_score(model: str, dropped: int, task: str) -> float | None:
    """Of table 1, by the paper's name of the model; 0 dropped is the full one."""
    table = published().top
    if task not in table.tasks:
        return None
    at = table.tasks.index(task)
    return next((row.scores[at] for row in table.rows if (row.model, row.dropped) == (model, dropped)), None)
