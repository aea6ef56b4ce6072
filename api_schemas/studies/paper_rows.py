"""Our rows of a study, as the paper's tables ask for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from api_schemas.studies.published import published
from api_schemas.studies.shown import Spread, StudyRow


class Whose(NamedTuple):
    """The model and the recovery of rows that belong together."""

    model: str
    recovery: str
    effort: str

    @property
    def said(self) -> str:
        effort = () if self.effort == "auto" else (self.effort,)
        return ", ".join((self.model, self.recovery, *effort))

    @property
    def called(self) -> str:
        """As the paper calls the model; its id, where it is none of the paper's."""
        known = published().model_of(self.model)
        return known.name if known else self.model

    @property
    def from_fine_tuned(self) -> bool:
        """`distill` drops from the fine-tuned full model, `finetune` from the pre-trained one (ADR 0016)."""
        return self.recovery.partition(" #")[0] in ("distill", "auto")


class Ours:
    """Our rows of the strategy ``top`` that have a score, by whose they are, task and layers dropped."""

    def __init__(self, rows: Iterable[StudyRow]) -> None:
        self.tasks: list[str] = []
        self._found: dict[Whose, dict[str, dict[int, StudyRow]]] = {}
        for row in rows:
            count = dropped_count(row)
            if row.strategy != "top" or row.score_after is None or count is None or not _is_like_the_papers(row, count):
                continue
            whose = Whose(row.model, row.recovery, row.effort)
            self._found.setdefault(whose, {}).setdefault(row.task, {}).setdefault(count, row)
            if row.task not in self.tasks:
                self.tasks.append(row.task)

    def named(self, called: str) -> list[Whose]:
        return [whose for whose in self._found if whose.called == called]

    def others(self) -> list[str]:
        """Models that the paper does not have."""
        known = {model.name for model in published().models}
        return list(dict.fromkeys(whose.called for whose in self._found if whose.called not in known))

    def of(self, whose: Whose, task: str) -> dict[int, StudyRow]:
        """By the layers dropped."""
        return self._found[whose].get(task, {})

    def drops(self, called: str) -> set[int]:
        """How many layers, with 0 for the full model; nothing where nothing was run."""
        found = [self._found[whose].values() for whose in self.named(called)]
        return {count for tasks in found for rows in tasks for count in (0, *rows)}

    def at(self, whose: Whose, count: int) -> list[StudyRow]:
        """One a task."""
        return [rows[count] for rows in self._found[whose].values() if count in rows]

    def any_row(self, whose: Whose) -> StudyRow:
        return next(row for rows in self._found[whose].values() for row in rows.values())

    def score(self, whose: Whose, task: str, count: int) -> str:
        """Of the full model, where nothing is dropped."""
        rows = self.of(whose, task)
        if count == 0:
            return _score(next((row.score_before for row in rows.values() if row.score_before), None))
        return _score(rows[count].score_after) if count in rows else ""

    def halved(self, called: str) -> int | None:
        """How many layers half of the model are; None for an odd number."""
        totals = [self.any_row(whose).layers_total for whose in self.named(called)]
        return totals[0] // 2 if totals and totals[0] and totals[0] % 2 == 0 else None


def dropped_count(row: StudyRow) -> int | None:
    """How many layers went, or will."""
    if row.layers_total is not None and row.layers_kept is not None:
        return row.layers_total - row.layers_kept
    return int(row.drop) if row.drop >= 1 else None


def _is_like_the_papers(row: StudyRow, count: int) -> bool:
    """Not on data of the user's own, and without the top layers: protected ones make it another model."""
    if not row.comparable:
        return False
    total, dropped = row.layers_total, row.dropped
    return total is None or dropped is None or sorted(dropped) == list(range(total - count, total))


def _score(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.mean:.2f}" if spread.std is None else f"{spread.mean:.2f} ± {spread.std:.2f}"
