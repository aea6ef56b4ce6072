"""What makes two jobs the same: every field of what was decided counts, but for those that are named here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Start
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest, resolve
from sources.importance import Identities
from sources.job_identity import JobIdentities, job_fingerprint

FACTS = ModelFacts(id="acme/bert", revision="c" * 40, architecture="bert", layers=6, hidden_size=384)
SENT = {
    "model": "acme/bert",
    "task": {"dataset": "/data/reviews.csv", "text_columns": ["text"], "label_column": "label"},
    "prune": {"strategy": "top", "drop": 2},
    "metadata": {"team": "search"},
}
RESOLVED = resolve(JobRequest.model_validate(SENT), FACTS)
IDS = JobIdentities(Identities({"m": 1}, {"t": 1}, {"x": 1}, {"u": 1}), {"d": 1}, {"p": 1}, {"o": 1})

#: Whole branches that say how a job is run, or what it was called; and names of files, which count by their content.
NOT_OF_RESULT = {
    "model", "limits", "priority", "suffix", "metadata", "plan", "delivered", "sources", "start", "device", "reused",
    "task.dataset", "task.dev", "task.pairs.dataset", "recovery.text.dataset", "prune.calibration.dataset",
}  # fmt: skip

Path = tuple[str, ...]


def leaves(part: BaseModel, path: Path = ()) -> Iterator[Path]:
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def changed(part: Any, path: Path) -> Any:
    first, *rest = path
    value = changed(getattr(part, first), tuple(rest)) if rest else ["something else"]
    return part.model_copy(update={first: value})


def fingerprint(resolved: ResolvedRequest, ids: JobIdentities = IDS, version: str = "1.0.0") -> str | None:
    with warnings.catch_warnings(action="ignore"):  # what was put there is of no field's type
        return job_fingerprint(resolved, ids, version)


@pytest.mark.parametrize("path", [path for path in leaves(RESOLVED) if path != ("start",)], ids=".".join)
def test_every_field_makes_another_job_but_those_that_are_named(path: Path) -> None:
    if path == ("export", "push_to"):
        assert fingerprint(changed(RESOLVED, path)) is None, "it is done for its own sake"
        return
    named = any(".".join(path[:length]) in NOT_OF_RESULT for length in range(1, len(path) + 1))
    assert (fingerprint(changed(RESOLVED, path)) == fingerprint(RESOLVED)) == named


@pytest.mark.parametrize("name", ["model", "task", "unlabelled", "text"])
def test_so_does_every_other_content_that_is_read(name: str) -> None:
    assert fingerprint(RESOLVED, replace(IDS, read=replace(IDS.read, **{name: {"z": 2}}))) != fingerprint(RESOLVED)


@pytest.mark.parametrize("name", ["dev", "pairs", "modules"])
def test_so_does_what_is_judged_on_and_what_is_delivered_with_it(name: str) -> None:
    other: dict[str, Any] = {name: {"z": 2}}
    assert fingerprint(RESOLVED, replace(IDS, **other)) != fingerprint(RESOLVED)


def test_what_a_recovery_starts_from_counts_by_its_weights_and_layers_and_not_by_its_job() -> None:
    def start(**more: Any) -> str | None:
        facts = {"job": "job_a", "sha256": "a" * 64, "kept": [0, 1], **more}
        return fingerprint(RESOLVED.model_copy(update={"start": Start.model_construct(**facts)}))

    assert start() == start(job="job_b")
    assert len({start(), start(sha256="b" * 64), start(kept=[0, 2]), fingerprint(RESOLVED)}) == 4


def test_so_does_another_layercut() -> None:
    assert fingerprint(RESOLVED, version="1.0.1") != fingerprint(RESOLVED) == fingerprint(RESOLVED)
