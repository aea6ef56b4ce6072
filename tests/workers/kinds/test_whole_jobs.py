"""A whole job of each kind, on tiny models: it learns, is scored, and is delivered as stock libraries load it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

from api_schemas.events import NewEvent
from api_schemas.reports import Report
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.task_kinds import TASK_KINDS
from demo.samples import copy_model
from sources.model_folder import folder_modules, folder_of, read_facts
from sources.rows import Rows
from tests.support.embedding_models import NORMALIZE, dense, embedding_model
from tests.support.kind_data import pairs, sentence, tagged, texts, with_labels
from tests.support.tiny_models import SENTENCES, tiny_model
from tests.support.whole_jobs import carry_out
from workers.cache.folder import FolderCache
from workers.data.batches import collate
from workers.data.features import LabelShape, encode
from workers.export.verification.embedding_checks import load_embedding_model
from workers.kinds.kind import CPU, KindInputs
from workers.kinds.table import kind_of
from workers.pipeline import run_pipeline
from workers.runtime.loading import load_tokenizer
from workers.runtime.sentence_modules import prompt_tokens
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

PACE = {"epochs": 12, "learning_rate": 0.001, "baseline_learning_rate": 0.001}
FAST = {**PACE, "batch_size": 8, "baseline_batch_size": 8}
QUIET = {"latency": {"batch_sizes": []}}


def test_a_tagger_is_distilled_and_delivered_for_the_stock_pipeline(tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=4)
    task = {"kind": "token-classification", "dataset": str(tagged(tmp_path / "train.conll"))}
    more = {"recovery": {**PACE, "epochs": 20}, "evaluation": QUIET, "prune": {"strategy": "greedy", "drop": 2}}
    report = (done := carry_out({"model": str(model), "task": task, **more}, settings)).report

    assert (report.task.kind, report.task.metric) == ("token-classification", "entity_f1")
    assert report.before.score > 95
    assert report.after.score > 95
    # Few rows: batches are halved until there are steps enough, and the report has the numbers.
    assert (report.recovery.batch_size, report.recovery.baseline_batch_size) == (8, 8)
    assert report.data.labels == ["O", "B-PERSON", "I-PERSON", "B-PLACE", "I-PLACE"]
    assert done.details()["pipeline"].startswith("token-classification: ")
    assert "pipeline_tag: token-classification" in (done.folder / "README.md").read_text()
    ask = pipeline("token-classification", model=str(done.folder), aggregation_strategy="first")
    found = ask("what a lovely airport full of crew")
    assert [(row["word"], row["entity_group"]) for row in found] == [("airport", "PLACE"), ("crew", "PERSON")]


@pytest.mark.long
def test_labels_of_which_a_row_has_any_number(tmp_path: Path, settings: WorkerSettings) -> None:
    """Of a trained model: a tiny one learns one of the labels or does not, by chance."""
    copy_model(model := tmp_path / "source")
    table = with_labels(tmp_path / "train.jsonl")
    task = {"kind": "multi-label", "dataset": str(table), "text_columns": ["text"], "label_column": "about"}
    pace = {"epochs": 8, "learning_rate": 2e-4, "baseline_learning_rate": 2e-4}
    more = {"recovery": {**FAST, **pace}, "evaluation": QUIET, "prune": {"strategy": "taylor", "drop": 2}}
    report = (done := carry_out({"model": str(model), "task": task, **more}, settings)).report

    assert report.before.metrics.keys() == {"micro_f1", "macro_f1", "exact_match"}
    assert report.before.score > 95
    assert report.after.score > 95
    assert any("no label" in warning for warning in report.warnings)
    ask = pipeline("text-classification", model=str(done.folder), top_k=None)
    (answers,) = ask(["the play at the airport was kind"])
    said = {row["label"]: row["score"] for row in answers}
    assert {label for label, score in said.items() if score > 0.5} == {"play", "airport"}


def _spoken(path: Path) -> str:
    draw = random.Random(5)
    path.write_text("\n".join(json.dumps({"text": sentence(draw, "late", "slow", "kind")}) for _ in range(60)) + "\n")
    return str(path)


def _table(path: Path, label: Callable[[int], str]) -> str:
    draw = random.Random(6)
    lines = ["text,label", *(f"{' '.join(sentence(draw))},{label(row)}" for row in range(120))]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


COLUMNS = {"text_columns": ["text"], "label_column": "label"}
WITH_TEXT: dict[str, Callable[[Path], dict[str, Any]]] = {
    "classification": lambda folder: {"dataset": _table(folder / "t.csv", lambda row: "ab"[row % 2]), **COLUMNS},
    "regression": lambda folder: {"dataset": _table(folder / "t.csv", lambda row: f"{row / 7:.3f}"), **COLUMNS},
    "multi-label": lambda folder: {
        "dataset": str(with_labels(folder / "t.jsonl")), "text_columns": ["text"], "label_column": "about",
    },
    "token-classification": lambda folder: {"dataset": str(tagged(folder / "t.conll"))},
}  # fmt: skip


@pytest.mark.parametrize("kind", WITH_TEXT)
def test_text_without_labels_is_learnt_from_by_every_kind(kind: str, tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    words = kind == "token-classification"
    text = _spoken(tmp_path / "more.jsonl") if words else str(texts(tmp_path / "more.txt", rows=60))
    task = {"kind": kind, **WITH_TEXT[kind](tmp_path)}
    recovery = {"epochs": 1, "text": {"dataset": text}, "label_weight": 0.5, "batch_size": 8}
    body = {"model": str(model), "task": task, "recovery": recovery, "evaluation": QUIET, "prune": {"drop": 1}}
    report = carry_out(body, settings).report
    assert report.data.splits["text"].rows == 60
    assert report.training["recovering"].examples == report.data.splits["train"].rows + 60
    assert report.verification.passed


@pytest.mark.parametrize("strategy", ["symmetric", "block_influence", "taylor", "greedy", "auto"])
def test_an_embedding_model_learns_its_own_vectors(strategy: str, tmp_path: Path, settings: WorkerSettings) -> None:
    prompts = {"prompts": {"query": "a play: "}, "default_prompt_name": "query"}
    source = embedding_model(tmp_path / "source", dense(32, 24), NORMALIZE, settings=prompts)
    task = {
        "kind": "embedding", "dataset": str(texts(tmp_path / "texts.txt")),
        "pairs": {"dataset": str(pairs(tmp_path / "pairs.csv"))},
    }  # fmt: skip
    more = {"recovery": {"epochs": 3, "learning_rate": 0.002}, "evaluation": QUIET}
    body = {"model": str(source), "task": task, "prune": {"strategy": strategy, "drop": 2}, **more}
    report = (done := carry_out(body, settings)).report

    assert report.task.metric == "spearman"
    assert report.before.metrics["cosine"] == pytest.approx(100)
    assert report.before.metrics["neighbours"] == 100
    assert report.after.metrics.keys() == {"spearman", "cosine", "cosine_p5", "neighbours"}
    assert report.after.metrics["cosine_p5"] <= report.after.metrics["cosine"] < 100
    assert list(report.training) == ["recovering"]
    assert report.verification.passed
    delivered, original = (load_embedding_model(str(folder), torch.float32) for folder in (done.folder, source))
    held = [" ".join(sentence(random.Random(99 + row))) for row in range(40)]
    cosine = (delivered.encode(held) * original.encode(held)).sum(axis=1)
    assert delivered.encode(held).shape == (40, 24)
    assert abs(cosine.mean() * 100 - report.after.metrics["cosine"]) < 5
    assert "pipeline_tag: sentence-similarity" in (done.folder / "README.md").read_text()


def test_vectors_are_those_of_stock_sentence_transformers(tmp_path: Path) -> None:
    """Prompt, lower case, pooling, Dense and Normalize: what is learnt is what a user will get."""
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    source = embedding_model(tmp_path / "source", dense(32, 8), NORMALIZE, settings=prompts, do_lower_case=True)
    job = _embedding_job(source)
    held = ["A Joy from its first SCENE", *SENTENCES]
    stock = load_embedding_model(str(source), torch.float32)
    assert np.allclose(job(held), stock.encode(held), atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("lowered", [False, True])
def test_a_prompt_is_lowered_and_left_out_as_stock_does(architecture: str, lowered: bool, tmp_path: Path) -> None:
    """A tokenizer that tells capitals apart; the prompt's tokens are read, and are no part of the mean."""
    said = {"prompts": {"query": "A Play: "}, "default_prompt_name": "query"}
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "include_prompt": False}
    source = embedding_model(
        tmp_path / "source", architecture=architecture, settings=said, pooling=pooling, do_lower_case=lowered
    )
    held = ["A Joy from its first SCENE", *SENTENCES]
    stock = load_embedding_model(str(source), torch.float32)
    assert np.allclose(_embedding_job(source)(held), stock.encode(held), atol=1e-5)


def _embedding_job(source: Path) -> Any:
    opened = folder_of(source, str(source))
    modules = folder_modules(opened)
    prompt = prompt_tokens(load_tokenizer(source), modules, modules.max_seq_length)
    kind = kind_of(KindInputs(TASK_KINDS["embedding"], folder=source, prompt=prompt))
    model = kind.load(source, read_facts(opened, ModelRef(id=str(source))), seed=0)

    def vectors(held: list[str]) -> Any:
        rows = Rows([(modules.read(text),) for text in held], [0] * len(held), "made", "0" * 64)
        features = encode(load_tokenizer(source), rows, modules.max_seq_length, LabelShape(None))
        with torch.inference_mode():
            return kind.answer(model, collate(features, np.arange(len(held)), CPU)).values.numpy()

    return vectors


@pytest.mark.long
def test_two_jobs_share_what_the_teacher_answers(tmp_path: Path, settings: WorkerSettings) -> None:
    source = embedding_model(tmp_path / "source", NORMALIZE)
    task = {"kind": "embedding", "dataset": str(texts(tmp_path / "texts.txt"))}
    recovery = {"epochs": 1, "hidden_weight": 0, "noise": 0}
    body = {"model": str(source), "task": task, "recovery": recovery, "evaluation": QUIET}
    shared = FolderCache(tmp_path / "cache", settings.cache_bytes)
    told: list[list[str]] = []
    for drop in (2, 3):
        events: list[NewEvent] = []
        request, out = JobRequest.model_validate({**body, "prune": {"drop": drop}}), tmp_path / f"out{drop}"
        out.mkdir()
        run_pipeline(request, job_id=None, out=out, settings=settings, tell=events.append, shared=shared)
        report = Report.model_validate_json((out / "artifact" / "report.json").read_text())
        told.append([row.kind for row in report.reused])
    assert set(told[1]) == {"tokenized_data", "layer_importance", "baseline_logits", "baseline_scores"}
    assert told[1].count("baseline_logits") == 2  # to what is learnt, and to dev
