"""A model that cannot run, or cannot read the data, is refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModel

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.requests import JobRequest
from sources import model_folder
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import Delivered, carry_out, own
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

FINETUNE = {"method": "finetune", "epochs": 1, "batch_size": 16}
STRANGE = ("привет мир", "хороший фильм", "плохой день", "это конец")


def edited(folder: Path, **change: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


def written(path: Path, texts: list[str]) -> Path:
    rows = [f"{text},{('kind', 'unkind')[number % 2]}" for number, text in enumerate(texts)]
    path.write_text("\n".join(["text,mood", *rows]) + "\n", encoding="utf-8")
    return path


def refused(body: dict[str, Any], settings: WorkerSettings) -> tuple[LayercutError, list[str]]:
    """The error, and the stages that were begun."""
    events: list[NewEvent] = []
    with pytest.raises(LayercutError) as caught:
        run_pipeline(
            JobRequest.model_validate(body), job_id="job_x", out=settings.data_dir / "out", settings=settings,
            tell=events.append,
        )  # fmt: skip
    return caught.value, [event.data.stage for event in events if event.type == EventType.STAGE]


def test_a_model_that_does_not_run_is_refused_before_it_is_trained(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    # Feed-forward in chunks of 7 tokens: it loads, and fails on whatever is no multiple of that.
    model = edited(tiny_model("bert", tmp_path / "source", head="base", layers=3), chunk_size_feed_forward=77)
    error, stages = refused({"model": str(model), "task": own(table), "recovery": FINETUNE}, settings)
    assert (error.code, error.param, error.kind.retryable) == ("model_invalid", "/model", False)
    assert "the model does not run, as its config and its weights are: " in error.message
    assert stages == ["resolving"]


def test_texts_without_a_known_word_are_refused(tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    table = written(tmp_path / "strange.csv", [f"{STRANGE[row % 4]}" for row in range(60)])
    error, stages = refused({"model": str(model), "task": own(table), "recovery": FINETUNE}, settings)
    assert (error.code, error.param) == ("dataset_invalid", "/task")
    assert "knows no word of 4" in error.message or "knows no word of 5" in error.message
    assert stages == ["resolving"]


def test_many_texts_without_a_known_word_are_told(tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    texts = [STRANGE[row % 4] if row % 4 else f"a lovely film {row}" for row in range(60)]
    table = written(tmp_path / "strange.csv", texts)
    done = carry_out({"model": str(model), "task": own(table), "recovery": FINETUNE}, settings)
    told = [warning for warning in done.report.warnings if "knows no word of" in warning]
    assert any("train rows: those look alike to the model" in warning for warning in told)


def test_a_token_without_an_embedding_is_refused_where_only_the_loaded_tokenizer_tells(
    tmp_path: Path, settings: WorkerSettings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    backend = Tokenizer.from_file(str(model / "tokenizer.json"))
    backend.add_tokens(["zyxwv"])
    backend.save(str(model / "tokenizer.json"))
    monkeypatch.setattr(model_folder, "check_tokenizer", lambda *_: None)  # as of a file that it cannot count
    error, stages = refused({"model": str(model), "task": own(table), "recovery": FINETUNE}, settings)
    assert (error.code, error.param) == ("model_invalid", "/model")
    assert "has 201 tokens, the last with id 200, and the embeddings have 200 rows" in error.message
    assert stages == ["resolving"]


def test_a_token_that_the_model_may_lack_is_refused_where_a_text_uses_it(
    tmp_path: Path, settings: WorkerSettings
) -> None:
    model = tiny_model("gemma3_text", tmp_path / "source", head="base", layers=3)
    backend = Tokenizer.from_file(str(model / "tokenizer.json"))
    backend.add_tokens(["<image_soft_token>"])
    backend.save(str(model / "tokenizer.json"))
    texts = [f"a lovely film {row} {'<image_soft_token>' if row == 7 else ''}" for row in range(60)]
    body = {"model": str(model), "task": own(written(tmp_path / "t.csv", texts)), "recovery": FINETUNE}
    error, stages = refused(body, settings)
    assert error.code == "dataset_invalid"
    assert "has the token '<image_soft_token>' with id 200, and the model has embeddings of 200" in error.message
    assert stages == ["resolving"]


@pytest.mark.parametrize("trains", [True, False])
def test_flash_attention_asked_for_in_the_config_is_not_needed(
    trains: bool, tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = edited(
        tiny_model("bert", tmp_path / "source", head="masked_lm", layers=3), attn_implementation="flash_attention_2"
    )
    body = {"task": own(table), "recovery": FINETUNE} if trains else {"task": "none"}
    done = carry_out({"model": str(model), **body, "prune": {"drop": 1}}, settings)
    assert AutoModel.from_pretrained(done.folder).config._attn_implementation == "sdpa"


def pruned(model: Path, settings: WorkerSettings, **more: Any) -> Delivered:
    return carry_out({"model": str(model), "task": "none", "prune": {"drop": 1}, **more}, settings)


def test_a_tensor_that_the_class_has_no_place_for_is_said_to_be_where_it_is(
    tmp_path: Path, settings: WorkerSettings
) -> None:
    model = edited(tiny_model("bert", tmp_path / "source", head="masked_lm", layers=3), architectures=["BertModel"])
    done = pruned(model, settings)
    (told,) = [warning for warning in done.report.warnings if "not in the model's class" in warning]
    with safe_open(done.folder / "model.safetensors", "pt") as file:
        assert "cls.predictions.bias" in file.keys()  # noqa: SIM118 - no mapping
        assert file.metadata() == {"format": "pt"}
    assert "so copied as they are: cls.predictions.bias" in told


def test_speed_at_lengths_that_the_model_does_not_read_is_told(tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    latency = {"batch_sizes": [1], "sequence_lengths": [16, 128, 512]}
    done = pruned(model, settings, evaluation={"latency": latency})
    assert "speed at 128, 512 tokens is measured at 64: the model reads no more than that" in done.report.warnings
    assert [cell.sequence_length for cell in done.report.after.latency] == [16, 64]
