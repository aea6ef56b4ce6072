"""What is delivered as ONNX is where optimum and sentence-transformers look for it, in the versions that users have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.samples import copy_model
from tests.support.exported_models import exported
from tests.support.peers import OLDEST, PEERS, needs_peer, run_with
from tests.support.tiny_models import SENTENCES, inputs_of
from tests.support.whole_jobs import carry_out
from workers.export.verification.embedding_checks import load_embedding_model
from workers.settings import WorkerSettings

OPTIMUM = PEERS / "optimum-onnx"
pytestmark = [pytest.mark.slow, pytest.mark.long, needs_peer(OPTIMUM), needs_peer(OLDEST)]

CLASSIFY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import transformers
from optimum.onnxruntime import ORTModelForSequenceClassification as Model
folder, texts = sys.argv[2], json.loads(sys.argv[3])
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
found = Model.from_pretrained(folder)
small = Model.from_pretrained(folder, subfolder="onnx", file_name="model_int8.onnx")
given = tokenizer(texts, padding=True, return_tensors="pt")
answer = transformers.pipeline("text-classification", model=found, tokenizer=tokenizer)(texts[0])
print(json.dumps([transformers.__version__, found(**given).logits.tolist(), small(**given).logits.tolist(), answer]))
"""

EMBED = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sentence_transformers import SentenceTransformer
folder, texts = sys.argv[2], json.loads(sys.argv[3])
plain = SentenceTransformer(folder, backend="onnx", local_files_only=True)
small = SentenceTransformer(
    folder, backend="onnx", local_files_only=True, model_kwargs={"file_name": "onnx/model_int8.onnx"}
)
print(json.dumps([each.encode(texts).tolist() for each in (plain, small)]))
"""


def asked(code: str, folder: Path, texts: list[str]) -> Any:
    said = run_with(OPTIMUM, code, str(folder), json.dumps(texts), also=OLDEST)
    return json.loads(said.splitlines()[-1])


def test_optimum_loads_a_classifier_and_a_pipeline_answers_with_it(tmp_path: Path) -> None:
    artifact = exported("bert", tmp_path, kept=[0, 1])
    artifact.write("onnx", "onnx-int8")
    version, logits, small, (answer,) = asked(CLASSIFY, artifact.folder, list(SENTENCES))
    assert version.startswith("4.57.")
    with torch.inference_mode():
        expected = artifact.model(**inputs_of("bert")).logits
    assert torch.allclose(torch.tensor(logits), expected, atol=1e-5)
    assert torch.allclose(torch.tensor(small), expected, atol=0.1)
    likely = expected[0].softmax(0)
    assert answer["label"] == artifact.model.config.id2label[int(likely.argmax())]
    assert answer["score"] == pytest.approx(float(likely.max()), abs=1e-4)


def test_sentence_transformers_reads_it_as_its_onnx_backend(tmp_path: Path, settings: WorkerSettings) -> None:
    copy_model(tmp_path / "MiniLM")
    body = {"model": str(tmp_path / "MiniLM"), "task": "none", "prune": {"drop": 4}}
    done = carry_out({**body, "export": {"formats": ["onnx", "onnx-int8"]}}, settings)
    texts = ["a lovely, moving film", "My flight was late AGAIN"]
    plain, small = (torch.tensor(found) for found in asked(EMBED, done.folder, texts))
    expected = load_embedding_model(str(done.folder), torch.float32).encode(texts, convert_to_tensor=True)
    assert torch.allclose(plain, expected, atol=1e-5)
    assert torch.nn.functional.cosine_similarity(small, expected).min() > 0.95
