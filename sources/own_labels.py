"""The labels of the user's own table: which classes there are, in which order, and which of them is meant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from api_schemas.errors import LayercutError
from api_schemas.labels import as_number, label_key, label_text
from api_schemas.task_spec import MAX_LABELS, TaskSpec
from sources.tables.data_file import DataFile
from sources.tables.table import WRONG_COLUMN

#: The label that f1 is of, where nobody says another.
POSITIVE = ("1", "true", "yes", "positive")
MORE = 20


@dataclass(frozen=True)
class Classes:
    """``names`` in id order. ``ids`` are by how a label is written in a file; a value that is not there is no label.

    ``spelt`` are the ways in which one label is written, where there are several.
    """

    names: tuple[str, ...]
    ids: dict[str | None, int] = field(default_factory=dict)
    spelt: dict[str, list[str]] = field(default_factory=dict)

    def taught(self, written: Mapping[str | None, int]) -> Classes:
        """With the ways in which another file writes the same labels."""
        by_key = {label_key(name): id for id, name in enumerate(self.names)}
        ids = {label: by_key[key] for label in written if (key := _key(label)) in by_key}
        return Classes(self.names, {**self.ids, **ids}, self.spelt)


def in_order(names: list[str]) -> list[str]:
    """Numbers by size, where all are; else by alphabet."""
    numbers = {name: as_number(name) for name in names}
    if all(number is not None for number in numbers.values()):
        return sorted(names, key=lambda name: (numbers[name] or 0.0, name))
    return sorted(names, key=label_key)


def classes_of(
    spec: TaskSpec,
    written: Mapping[str | None, int],
    file: DataFile,
    *,
    one_each: bool = True,
    ordered: Callable[[list[str]], list[str]] = in_order,
) -> Classes:
    """Of the labels as they are ``written``, and how often: those that differ in case or blanks alone are one.

    In the order of ``task.labels``; else as ``ordered`` does. ``one_each``: a row has one of them, and no more.
    Raises ``dataset_invalid``.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label, count in written.items():
        text = label_text(label)
        if text is not None:
            found[label_key(text)][text] += count
    asked = {label_key(name): name for name in spec.label_names}
    # The commonest spelling; of as common ones, the first by alphabet.
    names = {key: asked.get(key) or min(texts, key=lambda text: (-texts[text], text)) for key, texts in found.items()}
    unknown = [names[key] for key in names if asked and key not in asked]
    if unknown:
        raise file.error(f"label {unknown[0]!r} is none of task.labels, which are: {_listed(spec.label_names)}")
    _check_count(spec, len(names), file)
    if one_each:
        _check_names(spec, list(names.values()), file)
    order = spec.label_names or ordered(list(names.values()))
    spelt = {names[key]: sorted(texts) for key, texts in found.items() if len(texts) > 1}
    return Classes(tuple(order), {}, spelt).taught(written)


def _check_count(spec: TaskSpec, count: int, file: DataFile) -> None:
    if count > MAX_LABELS:
        raise file.error(f"{spec.label_column!r} has {count} different labels, more than {MAX_LABELS}: {WRONG_COLUMN}")


def _check_names(spec: TaskSpec, names: list[str], file: DataFile) -> None:
    if len(names) == 1:
        raise file.error(f"every row has the label {names[0]!r}: there is nothing to learn", "2")
    decimals = [name for name in names if not name.lstrip("+-").isdecimal() and as_number(name) is not None]
    if decimals and spec.kind == "auto" and not spec.labels and all(as_number(name) is not None for name in names):
        raise file.error(
            f"the labels are numbers with decimals, such as {decimals[0]}, and it is not clear whether they are to be"
            ' learnt as numbers: say task.kind: "regression", or "classification" where each is a class of its own'
        )


def spellings(classes: Classes) -> tuple[str, ...]:
    """Warnings of labels that are written in several ways."""
    return tuple(
        f"the label {name!r} is written in {len(ways)} ways, which are taken as one: {', '.join(map(repr, ways[:5]))}"
        for name, ways in classes.spelt.items()
    )


def positive_of(spec: TaskSpec, names: tuple[str, ...]) -> int | None:
    """The id of the label that f1 is of; None where it is the mean of each label's. Raises ``dataset_invalid``."""
    keys = [label_key(name) for name in names]
    if spec.positive_label is not None:
        if label_key(spec.positive_label) not in keys:
            message = f"the data has no label {spec.positive_label!r}; it has: {_listed(names)}"
            raise LayercutError("dataset_invalid", message, param="/task/positive_label")
        return keys.index(label_key(spec.positive_label))
    certain = [id for id, key in enumerate(keys) if key in POSITIVE]
    return certain[0] if len(names) == 2 and len(certain) == 1 else None


def no_class(classes: Classes, label: str | None, column: str) -> str:
    """What to say of a value that is none of the classes."""
    if label_text(label) is None:
        what = "is empty, or no label" if not (label or "").strip() else f"is no label but {(label or '')[:40]!r}"
        return f"label {column!r} {what}"
    return f"label {label_text(label)!r} is not in the training file, whose labels are: {_listed(classes.names)}"


def _key(label: str | None) -> str | None:
    text = label_text(label)
    return None if text is None else label_key(text)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:MORE])
