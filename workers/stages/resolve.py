"""Resolving: the model is found, the data read and tokenized, and what they decide decided."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from api_schemas.architectures import ModelFacts
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest, check_pinned, resolve
from api_schemas.strategies import STRATEGIES
from sources.cached_files import Unusable
from sources.chosen_files import choose_files
from sources.fingerprint import FileHashes, digest, fingerprint
from sources.importance import NOT_IDENTIFIED, Asked, identify
from sources.model_folder import folder_modules, opened_folder, read_facts
from sources.rows import Rows, one_text_a_row
from sources.sentence_transformers import Modules
from sources.staging import fetch_pinned, is_kept
from sources.stored_data import renamed
from sources.tasks import TaskData, load_task, with_data
from sources.texts import read_texts
from workers.data.features import Features, LabelShape, encode_into, labels_of, load_features
from workers.kinds.kind import PAIRS, Kind, KindInputs
from workers.kinds.table import kind_of
from workers.runtime.device import choose_device, choose_precision
from workers.runtime.host import host_memory
from workers.runtime.loading import load_tokenizer, read_rows_as_decoder
from workers.runtime.sentence_modules import prompt_tokens
from workers.settings import WorkerSettings
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.stages.resolved_job import Content, ResolvedJob, read_by, reads_rows_as_decoder, streams
from workers.stages.start import find_start
from workers.stages.try_out import check_tokenizer, check_words

FLOAT32_BYTES = 4
#: What the names of splits to score on begin with.
DEV = "dev:"


def resolve_job(
    request: JobRequest,
    resolved: ResolvedRequest | None,
    settings: WorkerSettings,
    cache: JobCache,
    progress: ProgressReporter,
) -> ResolvedJob:
    """Fetch the model, read and tokenize the data, decide what is open; raises ``LayercutError``.

    What is in ``resolved`` is carried out as it stands: its commit is fetched, and its plan is the job's. Without it,
    or where the model could not be looked at before, ``request`` is resolved now.
    """
    pinned, folder, facts = pin(request, resolved, settings)
    start = find_start(request, resolved, settings)
    progress.pinned(pinned)
    recovery = pinned.recovery
    assert recovery is not None
    device = choose_device(settings.device)
    mapped = streams(pinned, start.facts if start else facts) and not fits(facts, device)
    if mapped:
        device = torch.device("cpu")
    recovery = recovery.model_copy(update={"precision": choose_precision(recovery.precision, device)})
    tokenizer = load_tokenizer(folder)
    check_tokenizer(tokenizer, facts)
    if reads_rows_as_decoder(pinned, facts):
        read_rows_as_decoder(tokenizer)
    hashes = FileHashes(cache.root / "hashes", settings.inputs)
    strategy, calibration = STRATEGIES[pinned.prune.strategy], pinned.prune.calibration
    asks, kept = strategy.needs_importance or strategy.searches, is_kept(pinned.task, strategy.name)
    identities = identify(Asked.by_job(pinned), facts, settings, hashes) if asks else NOT_IDENTIFIED
    data = load_task(pinned.task, settings, seed=pinned.seed, text=recovery.text) if pinned.task.trains else None
    if data is not None:
        learnt = len(data.train) + len(data.text or ())
        batches = {
            "batch_size": recovery.batch_of(learnt),
            "baseline_batch_size": recovery.of_baseline().batch_of(len(data.train)),
        }
        recovery = recovery.model_copy(update=batches)
    texts = read_texts(calibration, settings, pinned.seed) if strategy.needs_data and calibration.on_text else None
    opened = opened_folder(folder, facts.id, settings.inputs)
    chosen, modules = choose_files(opened), folder_modules(opened) if facts.modules else None
    if modules is not None and modules.max_seq_length is not None:
        recovery = recovery.model_copy(update={"max_length": min(recovery.max_length, modules.max_seq_length)})
    # What makes a vector of a model's states counts as its weights do.
    named = [*chosen.weights, *(modules.files if modules is not None else ())]
    weights = hashes.of_files(opened, named) if kept or start else None
    # Not of the modules: another job on the same model may leave them.
    source_sha256 = digest("source", files={name: weights[name] for name in chosen.weights}) if weights else None
    if start is not None:
        start.pinned.check_source(source_sha256)
    content = Content(
        weights=fingerprint("weights", files=weights) if weights else None,
        texts=fingerprint("texts", files=hashes.of_files(opened, chosen.texts)),
        splits={},
        identities=identities,
        source_sha256=source_sha256,
    )
    prompt = prompt_tokens(tokenizer, modules, recovery.max_length) if modules is not None else 0
    kind = _kind(pinned, data, folder, device, prompt)
    if kind is not None:
        check_words(tokenizer, kind.shape)
    features: dict[str, Features] = {}
    for split, rows in _splits(data, modules).items():
        assert kind is not None
        labelled = split != "text"
        content.splits[split] = fingerprint(
            "tokenized_data", texts=content.texts, rows=rows.digest(), max_length=recovery.max_length,
            labels=asdict(kind.shape) if labelled else {**asdict(kind.shape), "given": False},
        )  # fmt: skip
        make = partial(
            encode_into, tokenizer, rows, recovery.max_length, shape=kind.shape, labelled=labelled, done=progress.part
        )
        # Tokens are read from where they were put: those of ten million rows are more than memory holds.
        read = partial(_read_features, rows=rows, shape=kind.shape, labelled=labelled)
        features[split] = cache.get("tokenized_data", content.splits[split], make, read)
    return ResolvedJob(
        request=pinned,
        recovery=recovery,
        facts=facts,
        folder=folder,
        tokenizer=tokenizer,
        device=device,
        data=data,
        train=features.get("train"),
        dev={name.removeprefix(DEV): features[name] for name in features if name.startswith(DEV)},
        task_kind=kind,
        text=features.get("text"),
        texts=texts,
        content=content,
        engine=settings.cpu_engine == "auto",
        mapped=mapped,
        start=start,
        modules=modules,
    )


def _kind(
    request: ResolvedRequest, data: TaskData | None, folder: Path, device: torch.device, prompt: int
) -> Kind | None:
    row = request.task.task_kind
    if row is None or data is None:
        return None
    return kind_of(KindInputs(row, data.label_names, data.label_mean, folder, device, prompt))


def _read_features(folder: Path, rows: Rows, *, shape: LabelShape, labelled: bool) -> Features:
    found = load_features(folder, shape, labelled=labelled)
    # Tags are on tokens: that they are as many as the tokens was checked.
    right = shape.per_token or np.array_equal(found.labels, labels_of(rows, shape, labelled=labelled), equal_nan=True)
    if len(found) != len(rows) or not right:
        raise Unusable("tokenized_data", "its labels are not those of the rows")
    return found


def pin(
    request: JobRequest, resolved: ResolvedRequest | None, settings: WorkerSettings
) -> tuple[ResolvedRequest, Path, ModelFacts]:
    """The resolved request, with the folder and the facts of the very model that it names.

    Raises ``model_invalid`` where the model is no longer the one that the plan was made for, and ``model_not_found``
    where the hub has the pinned commit no more.
    """
    ref = request.model if resolved is None else resolved.model
    folder = fetch_pinned(request, resolved, settings)
    facts = read_facts(opened_folder(folder, ref.id, settings.inputs), ref, modules=request.keeps_modules)
    if settings.inputs is not None:
        facts = facts.model_copy(update={"revision": settings.inputs.commit})
    if resolved is None or resolved.plan is None:
        sources = resolved.sources if resolved else []
        whole = with_data(renamed(request, sources), settings)
        return resolve(whole, facts, sources=sources), folder, facts
    check_pinned(resolved.plan, facts)
    return resolved, folder, facts


def _splits(data: TaskData | None, modules: Modules | None) -> dict[str, Rows]:
    """All that is tokenized. Of pairs of an embedding, each text is a row; texts are as the ``modules`` read them."""
    if data is None:
        return {}
    found = {"train": data.train, **{f"{DEV}{name}": rows for name, rows in data.dev.items()}}
    if data.pairs is not None:
        found[f"{DEV}{PAIRS}"] = one_text_a_row(data.pairs)
    if data.text is not None:
        found["text"] = data.text
    if modules is None:
        return found
    return {name: read_by(modules, rows) for name, rows in found.items()}


def fits(facts: ModelFacts, device: torch.device) -> bool:
    """Whether there is room for the model in float32, which verification loads, and for its own weights beside that."""
    own = facts.bytes or 0
    if device.type == "cuda" and own > torch.cuda.mem_get_info(device)[0]:
        return False
    return own + FLOAT32_BYTES * (facts.parameters or 0) <= host_memory()
