"""The rows of a study as figures read them: by panel, by series, with what is known of each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.studies.shown import StudyRow
from figures.words import plain

MOST_PANELS = 12


@dataclass(frozen=True)
class Panel:
    """The rows of one model and task."""

    model: str
    task: str
    rows: list[StudyRow]

    @property
    def model_name(self) -> str:
        return plain(self.model.rstrip("/").rsplit("/", 1)[-1], 34)

    @property
    def task_name(self) -> str:
        return plain(self.task.rsplit("/", 1)[-1], 24)

    @property
    def title(self) -> str:
        return f"{self.model_name} · {self.task_name}"


def panels_of(rows: Sequence[StudyRow], model: str | None, task: str | None) -> list[Panel]:
    """One a model and task, in the order of the table; of those that are asked for, where some are."""
    found: dict[tuple[str, str], list[StudyRow]] = {}
    for row in rows:
        if model in (None, row.model) and task in (None, row.task):
            found.setdefault((row.model, row.task), []).append(row)
    return [Panel(*key, own) for key, own in found.items()]


def series_of(panels: Sequence[Panel]) -> dict[tuple[str, str, str], str]:
    """(strategy, recovery, effort) of each line, with its label: it says no more than what tells it from the others."""
    keys = list(dict.fromkeys(key_of(row) for panel in panels for row in panel.rows))
    varied = [at for at in range(3) if at == 0 or len({key[at] for key in keys}) > 1]
    return {key: plain(" · ".join(key[at] for at in varied), 44) for key in keys}


def key_of(row: StudyRow) -> tuple[str, str, str]:
    return row.strategy, row.recovery, row.effort


def spread_of(row: StudyRow) -> tuple[float, float] | None:
    """The ends of the interval of the score: of retention by the full model's score, else one deviation."""
    mean, before = row.score_after, row.score_before
    if mean is None:
        return None
    if row.retention_interval is not None and before is not None:
        low, high = row.retention_interval.low * before.mean, row.retention_interval.high * before.mean
        return min(low, mean.mean), max(high, mean.mean)
    return (mean.mean - mean.std, mean.mean + mean.std) if mean.std is not None else None


def spread_note(rows: Sequence[StudyRow]) -> str:
    """What the bars are."""
    shares = {row.retention_interval.confidence for row in rows if row.retention_interval and row.score_before}
    by_std = any(not (row.retention_interval and row.score_before) and row.score_after and row.score_after.std
                 for row in rows)  # fmt: skip
    parts = [f"{100 * max(shares):g} % interval of retention × full model"] if shares else []
    parts += ["± 1 std over the seeds"] if by_std else []
    return f"bars: {', else '.join(parts)}" if parts else "one seed, no interval"


def named(row: StudyRow) -> str:
    """As in `top, 4 dropped`."""
    drop = f"{row.drop:g}" if row.drop >= 1 else f"{100 * row.drop:g} %"
    return f"{row.strategy}, {drop} dropped"
