"""A job with all resolved: what is known before the first weight moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.architectures import ARCHITECTURES, Architecture, ModelFacts
from api_schemas.cards import CardFacts
from api_schemas.further import left_spec
from api_schemas.labels import head_order
from api_schemas.plans import Plan
from api_schemas.pruning import CalibrationSpec, PruneSpec
from api_schemas.recovery import Recovery
from api_schemas.reports import Calibration
from api_schemas.resolved import ResolvedRequest
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import LabelMap
from sources.importance import Identities
from sources.rows import ReadTexts, Rows
from sources.sentence_transformers import Modules
from sources.strict_json import parse
from sources.tasks import TaskData
from workers.data.features import CLASS, Features, encode
from workers.evaluation.metrics import MetricLabels
from workers.kinds.kind import Kind
from workers.runtime.loading import load_source
from workers.stages.start import StartModel

DTYPE_NAMES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
}  # fmt: skip


CONFIG = "config.json"
SHOWN = 10


class Loaded(NamedTuple):
    """``warnings``: what the checkpoint lacks, or has too much."""

    model: PreTrainedModel
    warnings: list[str]


@dataclass(frozen=True)
class Content:
    """What the job reads, by fingerprint; ``splits`` are the tokenized rows: ``train``, and ``dev:<name>``. ``weights``
    are None where nothing that the job makes is kept by them. ``source_sha256`` is of the weights alone.
    """

    weights: str | None
    texts: str
    splits: dict[str, str]
    identities: Identities
    source_sha256: str | None = None


@dataclass(frozen=True)
class ResolvedJob:
    """A resolved request with its model found, its data read and tokenized, and what those decide decided.

    ``train`` and ``dev`` are labelled, ``text`` is learnt from beside ``train``, and ``texts`` are for calibration.
    ``recovery`` has the batch and the precision that ``request.recovery`` may leave open. ``engine``: whether
    trainings may use the CPU engine. ``mapped``: the model is larger than memory. Its weights stay in their files and
    are read when they are used. ``modules``: those of a sentence-transformers folder that stays one. ``start`` is what
    an earlier job left of the source: layers are dropped from it, where there is one. ``card`` and ``terms``: what the
    source's card says, and its licenses and notices by their names.
    """

    request: ResolvedRequest
    recovery: Recovery
    facts: ModelFacts
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    data: TaskData | None
    train: Features | None
    dev: dict[str, Features]
    texts: Rows | None
    content: Content
    task_kind: Kind | None = None
    text: Features | None = None
    engine: bool = True
    mapped: bool = False
    modules: Modules | None = None
    start: StartModel | None = None
    card: CardFacts = field(default_factory=CardFacts)
    terms: dict[str, bytes] = field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.facts.architecture]

    @property
    def trains(self) -> bool:
        return self.recovery.method != "none"

    @property
    def kind(self) -> Kind:
        """Of a job with data."""
        assert self.task_kind is not None
        return self.task_kind

    @cached_property
    def learnt(self) -> Features:
        """What a pruned model learns from: labelled rows, and after them text without labels."""
        assert self.train is not None
        return self.train if self.text is None else self.train.joined(self.text)

    @property
    def scored(self) -> bool:
        """Whether its models can be scored."""
        return self.data is not None and self.why_not_scored is None

    @property
    def why_not_scored(self) -> str | None:
        """Of a job with data: what is missing for a score; None where its models are trained, or have what it takes."""
        assert self.data is not None
        if self.mapped:
            return "it is larger than memory"
        if self.trains or (self.start is None and self.kind.row.labels is None):
            return None
        if self.start is not None:
            return f"nothing was trained: to score what {self.start.pinned.job} delivered, give it as the model"
        if not self._has_head:
            return "nothing was trained, and it has no head for the task"
        if not self.kind.row.names_labels or self.head_order is not None:
            return None
        return (
            f"its head says {_listed(self.facts.labels or ())} and the data {_listed(self.data.label_names)}, and which"
            " is which is not known: say it in task.labels"
        )

    @property
    def _has_head(self) -> bool:
        """Whether the source has one, of the task's kind and with as many outputs."""
        assert self.data is not None
        ending = self.kind.row.auto_class.removeprefix("AutoModel")
        alike = any(name.endswith(ending) for name in self.facts.classes[:1])
        return alike and self.facts.num_labels == max(1, len(self.data.label_names)) and self._same_problem

    @property
    def _same_problem(self) -> bool:
        """Whether the source's head answers the kind's question; to stock `transformers` one that does not say what its
        question is has one answer a row.
        """
        said, wanted = parse((self.folder / CONFIG).read_bytes(), CONFIG).get("problem_type"), self.kind.head.problem
        return wanted is None or said == wanted or (said is None and wanted != "multi_label_classification")

    @property
    def head_order(self) -> list[int] | None:
        """At which output of the source's head each of the task's labels stands; None where that is not known."""
        return self._order_of(self.facts)

    def _order_of(self, facts: ModelFacts) -> list[int] | None:
        assert self.data is not None
        task = self.request.task
        meant = task.labels.root if isinstance(task.labels, LabelMap) else task.labels
        return head_order(facts.labels, self.data.label_names, meant, numbered=task.glue is not None)

    @property
    def label_order(self) -> list[int] | None:
        """At which output of the job's models each label stands; None where they are all in place. Of a scored job."""
        return None if self.trains or self.data is None or not self.kind.row.names_labels else self.head_order

    @property
    def metric_labels(self) -> MetricLabels:
        """What metrics must know of the labels of ``data``."""
        return MetricLabels(self.data.label_names, self.data.positive) if self.data else MetricLabels()

    @property
    def wants_baseline(self) -> bool:
        return self.trains and (self.recovery.method == "distill" or self.request.evaluation.baseline)

    @property
    def trains_baseline(self) -> bool:
        """Whether the baseline is not the source as it came."""
        return self.wants_baseline and self.kind.row.teacher == "trained"

    @property
    def streams(self) -> bool:
        """Whether the kept weights are copied from file to file, as nothing changes them."""
        return streams(self.request, self.cut_facts)

    @property
    def cut_folder(self) -> Path:
        """Of the model that layers are dropped from."""
        return self.start.folder if self.start else self.folder

    @property
    def cut_facts(self) -> ModelFacts:
        return self.start.facts if self.start else self.facts

    def cut_spec(self, spec: PruneSpec) -> PruneSpec:
        """``spec`` with its layers numbered as they are in the model that layers are dropped from."""
        return left_spec(spec, self.start.pinned if self.start else None)

    def cut_layers(self, layers: Sequence[int]) -> list[int]:
        """Where in that model ``layers`` of the original are."""
        return [self.start.pinned.place(layer) for layer in layers] if self.start else list(layers)

    @property
    def dtype(self) -> torch.dtype:
        """Of the exported weights."""
        asked = self.request.export.dtype
        return DTYPE_NAMES.get((self.cut_facts.dtype or "F32") if asked == "auto" else asked, torch.float32)

    @property
    def latency_cells(self) -> list[tuple[int, int]]:
        """(batch size, tokens) to measure; no longer than the model can read. None of a model that is read anew from
        its files each time.
        """
        if self.mapped:
            return []
        asked, goal = self.request.evaluation.latency, self.request.prune.objective
        cells = [(size, length) for size in asked.batch_sizes for length in sorted(asked.sequence_lengths)]
        if goal is not None and goal.cell is not None:
            cells.append(goal.cell)
        return list(dict.fromkeys(map(self.readable, cells)))

    def readable(self, cell: tuple[int, int]) -> tuple[int, int]:
        """``cell`` of (batch size, tokens), no longer than the model can read."""
        return cell[0], min(cell[1], self.facts.max_positions or cell[1])

    def load(self, seed: int) -> Loaded:
        """The source, with a head for the task where it will be trained; on the job's device, in evaluation mode.

        ``seed`` is that of a new head.
        """
        return self._load(self.folder, self.facts, seed)

    def load_start(self, seed: int) -> Loaded:
        """As ``load``, of the model that the job starts from in the source's place."""
        return self._load(self.cut_folder, self.cut_facts, seed)

    def _load(self, folder: Path, facts: ModelFacts, seed: int) -> Loaded:
        warnings: list[str] = []
        if self.data is not None and self.trains:
            model = self.kind.load(
                folder,
                facts,
                seed=seed,
                order=self._order_of(facts),
                pad_token=self.tokenizer.pad_token_id,
                warnings=warnings,
            )
        else:
            model = load_source(folder, facts, warnings, copied=self.streams)
            if reads_rows_as_decoder(self.request, facts):
                model.config.pad_token_id = self.tokenizer.pad_token_id
        return Loaded(nn.Module.to(model, self.device), warnings)

    def calibration(self, spec: CalibrationSpec) -> Features:
        """What layers are measured on: plain text, or a seeded slice of the training set; never dev."""
        if self.texts is not None:
            texts = self.texts if self.modules is None else read_by(self.modules, self.texts)
            return encode(self.tokenizer, texts, self.recovery.max_length, CLASS)
        assert self.train is not None
        rows = np.random.default_rng(self.request.seed).permutation(len(self.train))[: spec.rows]
        return self.train.take(np.sort(rows))

    def calibration_facts(self) -> Calibration | None:
        """For the report; None where no text was looked at."""
        if not STRATEGIES[self.request.prune.strategy].needs_data:
            return None
        spec = self.request.prune.calibration.decided
        if self.texts is not None:
            rows, read = len(self.texts), self.texts
        else:
            assert self.data is not None
            rows, read = min(spec.rows, len(self.data.train)), self.data.train
        return Calibration(
            source=spec.source, text_columns=spec.text_columns, rows=rows, max_length=self.recovery.max_length,
            dataset=read.source, sha256=read.sha256, seed=self.request.seed,
        )  # fmt: skip

    def shown(self, plan: Plan | None = None) -> ResolvedRequest:
        """The request with what only this worker could decide; ``plan`` takes the place of the one pinned."""
        decided = {
            "recovery": self.recovery,
            "export": self.request.export.model_copy(update={"dtype": str(self.dtype).removeprefix("torch.")}),
            "device": str(self.device),
        }
        return self.request.without_places.model_copy(update=decided | ({} if plan is None else {"plan": plan}))


def read_by(modules: Modules, rows: Rows) -> Rows:
    """``rows`` with their texts as the ``modules`` read them."""
    return replace(rows, texts=ReadTexts(rows.texts, modules.read))


def _listed(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:SHOWN])) + (" …" if len(words) > SHOWN else "")


def reads_rows_as_decoder(request: ResolvedRequest, facts: ModelFacts) -> bool:
    """Whether a decoder is, or becomes, a classifier. One that generates, or makes vectors, keeps its own padding."""
    kind = request.task.task_kind
    if kind is not None and kind.labels is None:
        return False
    classifies = kind is not None or any(name.endswith("ForSequenceClassification") for name in facts.classes[:1])
    return classifies and ARCHITECTURES[facts.architecture].kind == "decoder"


def streams(request: ResolvedRequest, facts: ModelFacts) -> bool:
    """Whether nothing changes the weights that are kept: neither a training, nor another dtype."""
    trains = request.recovery is not None and request.recovery.method != "none"
    return not trains and facts.dtype in DTYPE_NAMES and request.export.dtype in ("auto", facts.dtype)
