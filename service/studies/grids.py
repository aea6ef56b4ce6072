"""A study's lists as they are stored: read back, and how their values are called in the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.recovery import RecoverySpec
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.studies.grid import Coordinates, body_of
from api_schemas.studies.request import Grid, StudyJob
from api_schemas.studies.table import numbered, recovery_labels
from sources.fingerprint import digest

#: Of a cell that no list has: its strategy is ``auto``, and it decides which others run.
PILOT = -1


@dataclass(frozen=True)
class StoredGrid:
    """Lists, and what all jobs have alike; ``models`` as they were pinned at first, in the same order."""

    grid: Grid
    alike: StudyJob
    models: tuple[ModelRef, ...]

    @classmethod
    def read(cls, request: dict[str, Any], stored: dict[str, Any]) -> StoredGrid:
        grid = read_grid(stored)
        pinned = tuple(ModelRef.model_validate(model) for model in stored["pinned"])
        return cls(grid, StudyJob.model_validate(request.get("job") or {}), pinned)

    def written(self) -> dict[str, Any]:
        """What is stored of it."""
        lists = self.grid.model_dump(mode="json", include=set(Grid.model_fields), exclude_unset=True)
        return {**lists, "pinned": [model.model_dump(mode="json", exclude_unset=True) for model in self.models]}

    def body(self, at: Coordinates, strategy: str) -> dict[str, Any]:
        """The body of the job of the cell, as if it had been sent."""
        found = body_of(self.grid, self.alike, at)
        found["prune"]["strategy"] = strategy
        return found

    def pinned(self, at: Coordinates, body: dict[str, Any]) -> dict[str, Any]:
        """``body`` with the model as it was pinned."""
        return {**body, "model": self.models[at.model].model_dump(mode="json", exclude_unset=True)}


def read_grid(stored: dict[str, Any]) -> Grid:
    """The lists alone."""
    return Grid.model_validate({name: stored[name] for name in Grid.model_fields if name in stored})


def pins_of(grids: Sequence[dict[str, Any]]) -> dict[str, ModelRef]:
    """As what each model was pinned that the study has asked for, by how it was asked for."""
    pins: dict[str, ModelRef] = {}
    for stored in grids:
        for asked, pinned in zip(read_grid(stored).models, stored["pinned"], strict=True):
            pins.setdefault(asked.model_dump_json(), ModelRef.model_validate(pinned))
    return pins


def key_of(body: dict[str, Any]) -> str:
    """What two cells that ask for the same have alike, however each was written: a default may be said or left out."""
    with suppress(ValidationError, LayercutError):  # what fails is told as a cell that cannot be
        body = JobRequest.model_validate(body).model_dump(mode="json")
    return digest("study_cell", body=body)


@dataclass(frozen=True)
class Labels:
    """Of the values of all grids of a study, each by grid and place: one value has one label, wherever it stands."""

    models: list[list[str]]
    tasks: list[list[str]]
    recoveries: list[list[str]]


def labels_of(grids: Sequence[Grid]) -> Labels:
    return Labels(
        models=_labels([grid.models for grid in grids], lambda found: numbered([one.id for one in found])),
        tasks=_labels([grid.tasks for grid in grids], lambda found: numbered([one.label for one in found])),
        recoveries=_labels([grid.recoveries for grid in grids], recovery_labels),
    )


def _labels(lists: list[list[Any]], name: Any) -> list[list[str]]:
    distinct: dict[str, Any] = {}
    for value in (value for values in lists for value in values):
        distinct.setdefault(_alike(value), value)
    names = dict(zip(distinct, name(list(distinct.values())), strict=True))
    return [[names[_alike(value)] for value in values] for values in lists]


def _alike(value: Any) -> str:
    """A recovery's effort has a label of its own."""
    if isinstance(value, RecoverySpec):
        value = value.model_copy(update={"effort": "auto"})
    return str(value.model_dump_json())


def effort_of(grid: Grid, at: Coordinates) -> str:
    """The label of the cell's effort: the list's, or the recovery's own."""
    listed = grid.efforts[at.effort]
    return grid.recoveries[at.recovery].effort if listed == "auto" else listed
