"""What decides a job's result, as a fingerprint: two jobs that have the same would find the same. Imports no torch.

Models and data count by what is in them. What runs a job (priority, limits, metadata) is no part of it, and neither is
the device: of two jobs alike, the earlier one's answer is taken, wherever it ran.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from api_schemas.architectures import ModelFacts
from api_schemas.pinned import PinnedSource
from api_schemas.resolved import ResolvedRequest
from sources.datasets import table_files
from sources.fingerprint import RECIPE, FileHashes, digest
from sources.glue import glue_identity
from sources.importance import Asked, Identities, Identity, identify, modules_identity
from sources.pairs import glue_pairs, pairs_file
from sources.settings import SourceSettings

KIND: Final = "job"

#: Nothing of these reaches a result; what is named by files and commits counts by their content.
_NOT_OF_RESULT: Final[dict[str, Any]] = {
    **dict.fromkeys(
        ("model", "limits", "priority", "suffix", "metadata", "plan", "delivered", "sources", "start", "device",
         "reused"), True,
    ),
    "task": {"dataset": True, "dev": True, "pairs": {"dataset": True}},
    "recovery": {"text": {"dataset": True}},
    "prune": {"calibration": {"dataset": True}},
}  # fmt: skip


@dataclass(frozen=True)
class JobIdentities:
    """What jobs read that have model, task, texts and start alike."""

    read: Identities
    dev: Identity | None
    pairs: Identity | None
    #: Of a model that stays one of sentence-transformers; what makes a vector of its states is delivered with it.
    modules: Identity | None = None

    @property
    def content(self) -> str:
        """A digest of it all: whether model and data are the same, whatever is asked of them, by whichever layercut."""
        return digest("job_content", model=self.read.model, modules=self.modules, data=self.data)

    @property
    def data(self) -> list[Any]:
        return [self.read.task, self.read.text, self.read.unlabelled, self.dev, self.pairs]


def identify_job(
    resolved: ResolvedRequest,
    facts: ModelFacts,
    settings: SourceSettings,
    hashes: FileHashes,
    stored: PinnedSource | None = None,
    *,
    keeps_modules: bool = False,
) -> JobIdentities | None:
    """None where one of them cannot be known now. Of all seeds alike. ``keeps_modules``: as the request. Raises as the
    sources do.
    """
    asked = replace(Asked.by_job(resolved), seed=0, stored=stored)
    read, task = identify(asked, facts, settings, hashes), resolved.task
    own_dev = _own_dev(resolved, settings, hashes)
    dev = _glue_dev(resolved, settings, hashes) if task.glue else own_dev
    pairs = _pairs(resolved, settings, hashes) if task.pairs else {}
    lacks = task.trains and (read.task is None or dev is None or pairs is None)
    lacks_text = asked.prune.calibration.on_text and read.text is None
    if read.model is None or lacks or lacks_text or (asked.recovery.text is not None and read.unlabelled is None):
        return None
    return JobIdentities(read, dev, pairs, modules_identity(asked, settings, hashes) if keeps_modules else None)


def job_fingerprint(resolved: ResolvedRequest, ids: JobIdentities, version: str) -> str | None:
    """``version`` is layercut's. None for a job that is done for its own sake: it sends its model somewhere."""
    if resolved.export.push_to is not None:
        return None
    start = resolved.start
    read = ids.read
    return digest(
        KIND,
        layercut=version,
        recipe=RECIPE,
        request=resolved.model_dump(mode="json", exclude=_NOT_OF_RESULT),
        model=read.model,
        modules=ids.modules,
        data=ids.data,
        start=None if start is None else [start.sha256, start.kept],
    )


def _glue_dev(resolved: ResolvedRequest, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    task = resolved.task.glue
    assert task is not None
    found = {split: glue_identity(task, settings, hashes, split) for split, _ in task.splits}
    return None if None in found.values() else found


def _own_dev(resolved: ResolvedRequest, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    if resolved.task.glue or not resolved.task.trains:
        return {}
    _, dev = table_files(resolved.task, settings)
    if dev is None:
        return {}
    return None if dev.partial else {"file": [dev.kind, hashes.of(dev.path)]}


def _pairs(resolved: ResolvedRequest, settings: SourceSettings, hashes: FileHashes) -> Identity | None:
    spec = resolved.task.pairs
    assert spec is not None
    if glue := glue_pairs(spec):
        task, split = glue
        return glue_identity(task, settings, hashes, split)
    file = pairs_file(spec, settings)
    return None if file.partial else {"file": [file.kind, hashes.of(file.path)]}
