"""What each label form knows to do with a file: read it, look through it, keep some of its rows aside."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import TaskSpec
from sources.own_labels import Classes
from sources.rows import Labels, Rows, Tally, TextRow, hash_files
from sources.tables.data_file import DataFile
from sources.tables.table import FORMATS, Table

DEV_SHARE = 0.1
FEWEST = 3
#: Rows of which Python reads every label that POST looks at: some ten seconds.
LOOKED_ROWS = 1_000_000

NO_ROW = "no row is left: all of them are bad"

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Learnt:
    """What the labels of a training file mean; ``classes`` is None where they are no names. ``warnings`` are of the
    file that was read.
    """

    classes: Classes | None = None
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """In id order; empty where labels have none."""
        return self.classes.names if self.classes else ()


@dataclass(frozen=True)
class Look:
    """What a look through a file shows. ``splits``: whether there are rows enough to keep some aside."""

    learnt: Learnt
    read: ReadSpec
    rows: int
    splits: bool


@dataclass(frozen=True)
class Split:
    """Rows to learn from, and rows kept aside to score on."""

    train: Rows
    dev: Rows
    warnings: tuple[str, ...] = ()


class Form(ABC):
    """One label form. ``known`` is what the training file's labels mean, None where this is that file itself.

    Methods raise ``dataset_invalid``, with file and line.
    """

    #: Of the files that it reads.
    suffixes: tuple[str, ...] = tuple(FORMATS)

    @abstractmethod
    def read(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> tuple[Rows, Learnt]:
        """All of the file."""

    @abstractmethod
    def look(self, spec: TaskSpec, file: DataFile, known: Learnt | None, limit: int) -> Look:
        """What is wrong with the first ``limit`` rows, or how they are read."""

    def split(self, rows: Rows, seed: int) -> Split:
        """A tenth, drawn with ``seed``."""
        if len(rows) < FEWEST:
            raise too_few(rows.source, len(rows))
        return split(rows, {0: array("q", range(len(rows)))}, seed)


def read_of(spec: TaskSpec, file: DataFile) -> ReadSpec:
    """How the request says that the file is read."""
    return (spec.dev_read if file.param == "/task/dev" else None) or spec.read


def split(rows: Rows, groups: dict[Any, array[int]], seed: int, most: int | None = None) -> Split:
    """A tenth of every group's rows, ``most`` at most, drawn with ``seed``: one at least of each that has two, and
    never all of it.
    """
    dev, draw = list[int](), random.Random(seed)
    for label in sorted(groups):
        group = groups[label]
        if len(group) > 1:
            count = max(1, round(len(group) * DEV_SHARE))
            chosen = draw.sample(range(len(group)), count if most is None else min(most, count))
            dev += (group[at] for at in chosen)
    if not dev or len(dev) == len(rows):
        raise too_few(rows.source, len(rows))
    aside = bytearray(len(rows))
    for index in dev:
        aside[index] = 1
    return Split(
        rows.pick((index for index in range(len(rows)) if not aside[index]), f"{rows.source} (without the dev rows)"),
        rows.pick(sorted(dev), f"{rows.source} (a tenth, seed {seed})"),
    )


def too_few(name: str, rows: int) -> LayercutError:
    return LayercutError(
        "dataset_invalid",
        f"{name}: {rows} rows are too few to keep some aside for scoring: give a dev file, or more rows of a label",
        param="/task/dataset",
    )


class BadLabel(ValueError):
    """A row that cannot be used: ``reason`` is the kind of fault, the message what is wrong with this row; ``at`` says
    at which of its words, from 0.
    """

    def __init__(self, reason: str, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.at = reason, at


def good_rows(table: Table, tally: Tally, take: Callable[[TextRow, Any], Taken]) -> Iterator[Taken]:
    """What ``take`` makes of each row's texts and label, for which it may raise ``BadLabel``.

    Bad rows are refused with their place, or counted in ``tally`` where they are to be skipped.
    """
    skips = table.read.bad_rows == "skip"
    if table.profile.blank and not skips:
        raise table.no_text()
    tally.skipped.update(table.bad)
    tally.rows = table.bad.total()
    for batch in table.batches():
        table.file.check_time()
        for at, (*texts, label, blank) in enumerate(batch, start=tally.rows - table.bad.total()):
            tally.rows += 1
            try:
                if blank:
                    raise BadLabel("no text", "no text")
                yield take(tuple(texts), label)
            except BadLabel as bad:
                if not skips:
                    where = "" if bad.at is None else f"word {bad.at + 1}: "
                    raise table.file.error(f"{where}{bad}", table.place(at)) from None
                tally.skipped[bad.reason] += 1


def rows_of(texts: Sequence[TextRow], labels: Labels, file: DataFile, tally: Tally) -> Rows:
    """``file`` is the pinned one that they were read from."""
    if not len(labels):
        raise file.error(NO_ROW)
    return Rows(texts, labels, file.name, hash_files([file.path]), **tally.left_out())
