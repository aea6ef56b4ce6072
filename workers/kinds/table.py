"""From the name of a kind to the file that knows it."""

from __future__ import annotations

from importlib import import_module

from api_schemas.task_kinds import TASK_KINDS
from workers.kinds.kind import Kind, KindInputs


def kind_of(given: KindInputs) -> Kind:
    """The kind of ``given.row``: the class ``KIND`` of ``workers/kinds/<name>.py``."""
    module = import_module(f"workers.kinds.{given.row.name.replace('-', '_')}")
    made: Kind = module.KIND(given)
    return made


def plain_kind(name: str, labels: tuple[str, ...] = (), mean: float = 0.0) -> Kind:
    """A kind that needs no model's folder."""
    return kind_of(KindInputs(TASK_KINDS[name], labels, mean))
