"""A job with all resolved: what is known before the first weight moves."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.architectures import ARCHITECTURES, Architecture, ModelFacts
from api_schemas.curves import sizes_of
from api_schemas.plans import make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import Recovery, resolve_recovery
from api_schemas.requests import JobRequest
from api_schemas.strategies import MEASURES, STRATEGIES
from sources.fingerprint import NOT_OF_BASELINE, FileHashes, fingerprint
from sources.importance import BRACKET, importance_fingerprint, search_fingerprint
from sources.importance import KIND as IMPORTANCE
from sources.models import fetch, read_facts
from sources.rows import Rows
from sources.tasks import TaskData, load_task
from sources.texts import read_texts
from workers.data.features import Features, encode
from workers.runtime.device import choose_device, choose_precision
from workers.runtime.host import host_memory
from workers.runtime.loading import load_for_task, load_source, load_tokenizer, read_rows_as_decoder
from workers.search.candidates import asked_of
from workers.settings import WorkerSettings
from workers.stages.job_cache import JobCache
from workers.training.trainer_state import TrainResult

DTYPE_NAMES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
}  # fmt: skip

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ResolvedJob:
    """A request with its model found, its data read and tokenized, and every "auto" decided.

    ``mapped``: the model is larger than memory. Its weights stay in their files and are read when they are used.
    """

    request: JobRequest
    facts: ModelFacts
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    recovery: Recovery
    device: torch.device
    data: TaskData | None
    train: Features | None
    dev: dict[str, Features]
    texts: Rows | None
    fingerprints: dict[str, str]
    mapped: bool = False

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.facts.architecture]

    @property
    def trains(self) -> bool:
        return self.recovery.method != "none"

    @property
    def scored(self) -> bool:
        """Whether its models can be scored: they are trained, or the source has a head for the task."""
        if self.data is None or self.mapped:
            return False
        return self.trains or self.facts.num_labels == max(1, len(self.data.label_names))

    @property
    def wants_baseline(self) -> bool:
        return self.trains and (self.recovery.method == "distill" or self.request.evaluation.baseline)

    @property
    def streams(self) -> bool:
        """Whether the kept weights are copied from file to file, as nothing changes them."""
        return streams(self.request, self.recovery, self.facts)

    @property
    def dtype(self) -> torch.dtype:
        """Of the exported weights."""
        asked = self.request.export.dtype
        return DTYPE_NAMES.get((self.facts.dtype or "F32") if asked == "auto" else asked, torch.float32)

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

    def asking(self, spec: PruneSpec, name: str) -> ResolvedJob:
        """The same, asked for what ``spec`` asks; its importance is kept under the fingerprint of that name."""
        fingerprints = {name: value for name, value in self.fingerprints.items() if name != IMPORTANCE}
        fingerprints |= {IMPORTANCE: self.fingerprints[name]} if name in self.fingerprints else {}
        return replace(self, request=self.request.model_copy(update={"prune": spec}), fingerprints=fingerprints)

    def load(self, warnings: list[str], seed: int) -> PreTrainedModel:
        """The source, with a head for the task where it will be trained; on the job's device, in evaluation mode.

        ``seed`` is that of a new head. What the checkpoint lacks, or has too much, is appended to ``warnings``.
        """
        if self.trains:
            assert self.data is not None
            model = load_for_task(
                self.folder,
                labels=self.data.label_names,
                regression=self.data.regression,
                seed=seed,
                mean=self.data.label_mean,
                pad_token=self.tokenizer.pad_token_id,
                warnings=warnings,
            )
        else:
            model = load_source(self.folder, self.facts, warnings)
            if reads_rows_as_decoder(self.request, self.facts):
                model.config.pad_token_id = self.tokenizer.pad_token_id
        return model.to(self.device).eval()

    def fingerprint_of(self, kind: str, **parts: Any) -> str:
        """The fingerprint of a thing that this job wants."""
        return fingerprint(kind, device=self.device.type, **parts)

    def source_fingerprint(self, seed: int) -> str:
        """Of the source as ``load`` gives it: the seed has drawn its head."""
        parts: dict[str, Any] = {"weights": self.fingerprints["weights"], "texts": self.fingerprints["texts"]}
        if self.trains:
            assert self.data is not None
            parts |= {
                "labels": self.data.label_names, "regression": self.data.regression, "seed": seed,
                "mean": self.data.label_mean,
            }  # fmt: skip
        return self.fingerprint_of("source", trains=self.trains, **parts)

    def baseline_fingerprint(self, seed: int) -> str:
        """The strategy, and what only the recovery reads, are no part of it: jobs that differ in these share it."""
        return self.fingerprint_of(
            "baseline",
            source=self.source_fingerprint(seed),
            train=self.fingerprints["train"],
            recovery=self.recovery.of_baseline().model_dump(exclude=set(NOT_OF_BASELINE)),
            seed=seed,
            told=[field.name for field in fields(TrainResult)],
        )

    def calibration(self) -> Features:
        """What layers are scored on: plain text, or a seeded slice of the training set; never dev."""
        if self.texts is not None:
            return encode(self.tokenizer, self.texts, self.recovery.max_length, regression=False)
        assert self.train is not None
        limit = self.request.prune.calibration.rows
        rows = np.random.default_rng(self.request.seed).permutation(len(self.train))[:limit]
        return self.train.take(np.sort(rows))

    def calibration_facts(self) -> dict[str, Any] | None:
        """For the report; None where no text was looked at."""
        if not STRATEGIES[self.request.prune.strategy].needs_data:
            return None
        spec = self.request.prune.calibration.decided
        if self.texts is not None:
            rows, source, sha256 = len(self.texts), self.texts.source, self.texts.sha256
        else:
            assert self.data is not None
            train = self.data.train
            rows, source, sha256 = min(spec.rows, len(train)), train.source, train.sha256
        told = {"rows": rows, "max_length": self.recovery.max_length, "dataset": source, "sha256": sha256}
        return {**spec.model_dump(), **told, "seed": self.request.seed}

    def resolved(self) -> dict[str, Any]:
        """For ``job.resolved``: the request with every default, and what "auto" became."""
        return {
            **self.request.model_dump(mode="json"),
            "model": {**self.request.model.model_dump(), "revision": self.facts.revision},
            "prune": self.request.prune.decided.model_dump(mode="json"),
            "recovery": self.recovery.model_dump(),
            "evaluation": {**self.request.evaluation.model_dump(mode="json"), "seeds": self.request.seeds},
            "export": {"dtype": str(self.dtype).removeprefix("torch.")},
            "device": str(self.device),
        }


def reads_rows_as_decoder(request: JobRequest, facts: ModelFacts) -> bool:
    """Whether a decoder is, or becomes, a classifier. One that generates keeps the padding that it came with."""
    classifies = request.task.trains or any(name.endswith("ForSequenceClassification") for name in facts.classes[:1])
    return classifies and ARCHITECTURES[facts.architecture].kind == "decoder"


def resolve_job(request: JobRequest, settings: WorkerSettings, cache: JobCache) -> ResolvedJob:
    """Fetch the model, read and tokenize the data, decide what is open; raises ``LayercutError``."""
    folder = fetch(request.model, settings)
    facts = read_facts(folder, request.model)
    request.check_model(facts)
    recovery = resolve_recovery(request.recovery, facts, trains=request.task.trains)
    device = choose_device(settings.device)
    mapped = streams(request, recovery, facts) and not fits(facts, device)
    if mapped:
        device = torch.device("cpu")
    recovery = recovery.model_copy(update={"precision": choose_precision(recovery.precision, device)})
    tokenizer = load_tokenizer(folder)
    if reads_rows_as_decoder(request, facts):
        read_rows_as_decoder(tokenizer)
    data = load_task(request.task, settings, seed=request.seed) if request.task.trains else None
    if data is not None:
        recovery = recovery.model_copy(update={"batch_size": recovery.batch_of(len(data.train))})
    strategy, calibration = STRATEGIES[request.prune.strategy], request.prune.calibration
    texts = read_texts(calibration, settings, request.seed) if strategy.needs_data and calibration.on_text else None
    hashes = FileHashes(cache.root / "hashes")
    fingerprints = {"weights": fingerprint("weights", files=hashes.weights(folder))}
    fingerprints["texts"] = fingerprint("texts", files=hashes.texts(folder))
    fingerprints |= _importance_fingerprints(request, facts, settings, hashes)
    splits = {} if data is None else {"train": data.train, **{f"dev:{name}": rows for name, rows in data.dev.items()}}
    features: dict[str, Features] = {}
    for split, rows in splits.items():
        assert data is not None
        fingerprints[split] = fingerprint(
            "tokenized_data", texts=fingerprints["texts"], rows=rows.digest(), max_length=recovery.max_length,
            regression=data.regression,
        )  # fmt: skip
        encoded = partial(encode, tokenizer, rows, recovery.max_length, regression=data.regression)
        features[split] = cache.share("tokenized_data", fingerprints[split], encoded)
    return ResolvedJob(
        request=request,
        facts=facts,
        folder=folder,
        tokenizer=tokenizer,
        recovery=recovery,
        device=device,
        data=data,
        train=features.get("train"),
        dev={split: features[f"dev:{split}"] for split in data.dev} if data else {},
        texts=texts,
        fingerprints=fingerprints,
        mapped=mapped,
    )


def _importance_fingerprints(
    request: JobRequest, facts: ModelFacts, settings: WorkerSettings, hashes: FileHashes
) -> dict[str, str]:
    """What the layers' importance is kept under; of `auto`, that of every strategy, and its brackets."""
    strategy, seed = STRATEGIES[request.prune.strategy], request.seeds[0]
    fingerprints: dict[str, str | None] = {}
    if strategy.needs_importance:
        fingerprints[IMPORTANCE] = importance_fingerprint(request, facts, settings, hashes, seed=seed)
    if strategy.searches:
        make_plan(request.prune, facts, seed=seed)  # raises where no size is possible, before sizes are counted
        fingerprints[BRACKET] = search_fingerprint(request, facts, settings, hashes, seed=seed)
        for name, spec in asked_of(request.prune, facts, sizes_of(request.prune, facts)[-1]).items():
            if (measure := STRATEGIES[name].measure) is not None:
                asked = request.model_copy(update={"prune": spec})
                found = importance_fingerprint(asked, facts, settings, hashes, seed=seed)
                fingerprints[f"{IMPORTANCE}:{MEASURES[measure].taken_from}"] = found
    return {name: value for name, value in fingerprints.items() if value is not None}


def streams(request: JobRequest, recovery: Recovery, facts: ModelFacts) -> bool:
    return recovery.method == "none" and facts.dtype in DTYPE_NAMES and request.export.dtype in ("auto", facts.dtype)


def fits(facts: ModelFacts, device: torch.device) -> bool:
    """Whether there is room for the model in float32, which verification loads, and for its own weights beside that."""
    own = facts.bytes or 0
    if device.type == "cuda" and own > torch.cuda.mem_get_info(device)[0]:
        return False
    return own + FLOAT32_BYTES * (facts.parameters or 0) <= host_memory()
