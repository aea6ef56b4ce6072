"""What is exported means the same in the oldest transformers that it is for, and in ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from api_schemas.architectures import ARCHITECTURES, FULL, SLIDING
from tests.support.exported_models import KEPT, Exported, exported
from tests.support.peers import OLDEST, examined, needs_peer
from tests.support.tiny_models import SENTENCES, build, edit_json, heads_of, inputs_of, tiny_model, tiny_tokenizer
from workers.export import older_transformers
from workers.export.files import export_stream, write_sums
from workers.export.older_transformers import with_older_fields, with_older_tokenizer_fields
from workers.export.verification import examine as verification
from workers.export.verify import Streamed, save_probe
from workers.pruning.surgery import drop_layers

CASES = [(architecture, head) for architecture in ARCHITECTURES for head in heads_of(architecture)]
#: Families that 4.57 has no classes for.
NEWER = {"eurobert", "nomic_bert"}

#: Ropes that are not what a class has by itself: nothing else shows whether they are read.
ROPES: dict[str, dict[str, Any]] = {
    "llama": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "mistral": {"rope_type": "default", "rope_theta": 500.0},
    "qwen2": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16},
    "qwen3": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0},
    "gemma": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0},
    "gemma2": {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0},
    "gemma3_text": {FULL: {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0},
                    SLIDING: {"rope_type": "default", "rope_theta": 50.0}},
    "phi3": {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": [1.0, 1.5, 2.0, 2.5],
             "long_factor": [2.0, 3.0, 4.0, 5.0]},
    "modernbert": {FULL: {"rope_type": "default", "rope_theta": 500.0},
                   SLIDING: {"rope_type": "default", "rope_theta": 50.0}},
}  # fmt: skip


def wrong(asked: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Of each that 4.57 does not find right, what it says."""
    found = examined(OLDEST, asked)
    assert {said["versions"]["transformers"].rpartition(".")[0] for said in found} == {older_transformers.OLDEST}
    return {
        name: said["cannot"] or {check["name"]: check["detail"] for check in said["checks"] if not check["passed"]}
        for name, said in zip(names, found, strict=True)
        if said["cannot"] or not all(check["passed"] for check in said["checks"])
    }


@needs_peer(OLDEST)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_is_the_same_there(dtype: torch.dtype, tmp_path: Path) -> None:
    made = {case: exported(case[0], tmp_path / "-".join(case), head=case[1], dtype=dtype) for case in CASES}
    asked = [artifact.asked(elsewhere=True) for artifact in made.values()]
    said = wrong(asked, ["-".join(case) for case in made])
    assert {name.partition("-")[0] for name in said} == NEWER
    assert all("has no attribute" in why for why in said.values())


@needs_peer(OLDEST)
@pytest.mark.slow
@pytest.mark.long
def test_so_are_ropes_that_are_not_the_usual_ones(tmp_path: Path) -> None:
    made = {name: exported(name, tmp_path / name, rope_parameters=rope) for name, rope in ROPES.items()}
    assert wrong([artifact.asked(elsewhere=True) for artifact in made.values()], list(made)) == {}
    # And here: that the older fields stand there too changes nothing.
    assert {name: artifact.failed() for name, artifact in made.items()} == {name: {} for name in made}
    # All of that is no chance: without the fields, 4.57 says something else, and no word.
    for artifact in made.values():
        strip(artifact.folder / "config.json")
    assert wrong([artifact.asked(elsewhere=True) for artifact in made.values()], list(made)).keys() == made.keys()


def strip(path: Path) -> None:
    config = json.loads(path.read_text())
    left = {name: value for name, value in config.items() if "theta" not in name and "freq" not in name}
    path.write_text(json.dumps(left | {"rope_scaling": None}))


@needs_peer(OLDEST)
@pytest.mark.slow
@pytest.mark.parametrize("form", ["as transformers 5 saved it", "as transformers 4 saved it"])
def test_so_is_what_is_copied_from_file_to_file(form: str, tmp_path: Path) -> None:
    made = {name: copied(name, tmp_path / name, older="4" in form) for name in ROPES}
    assert {name: artifact.failed() for name, artifact in made.items()} == {name: {} for name in made}
    assert wrong([artifact.asked(elsewhere=True) for artifact in made.values()], list(made)) == {}


def copied(architecture: str, folder: Path, *, older: bool) -> Exported:
    source = tiny_model(architecture, folder / "source", head="base", rope_parameters=ROPES[architecture])
    if older:
        config = with_older_fields(json.loads((source / "config.json").read_text()))
        del config["rope_parameters"]
        (source / "config.json").write_text(json.dumps(config))
    row = ARCHITECTURES[architecture]
    model = build(architecture, head="base", rope_parameters=ROPES[architecture])
    drop_layers(model, row, KEPT)
    tokenizer = tiny_tokenizer(architecture)
    cut = export_stream(model, tokenizer, folder / "artifact", source=source, architecture=row, kept=KEPT)
    write_sums(folder / "artifact")
    probe = save_probe(model, inputs_of(architecture), folder / "probe")
    return Exported(
        folder / "artifact", probe, model, cut.bytes_before, kind=row.kind, tokenizer=tokenizer,
        streamed=Streamed(source, cut.origins),
    )  # fmt: skip


@pytest.mark.long
@needs_peer(OLDEST)
@pytest.mark.slow
def test_layers_that_no_period_describes_are_refused_there_and_not_misread(tmp_path: Path) -> None:
    # Of every third layer that sees the whole text, 0 and 3 stay, with one between them and three behind.
    artifact = exported("modernbert", tmp_path, kept=[0, 1, 3, 4, 5])
    artifact.layers = {"num_hidden_layers": 5}
    assert artifact.failed() == {}
    found = artifact.verify(others=[OLDEST])
    assert found.passed
    (other,) = found.others
    assert other.named == "transformers 4.57.6"
    assert (other.passed, [check.name for check in other.checks]) == (None, ["loads"])
    assert "TypeError" in str(other.cannot)


@pytest.mark.long
@needs_peer(OLDEST)
@pytest.mark.slow
def test_the_program_finds_there_what_it_would_find_here(tmp_path: Path) -> None:
    artifact = exported("llama", tmp_path)
    (other,) = artifact.verify(others=[OLDEST]).others
    assert other.passed
    assert {check.name for check in other.checks} == verification.ELSEWHERE
    # What a careless tool would do: it means the same here, and not there.
    edit_json(artifact.folder / "config.json", rope_theta=5.0)
    write_sums(artifact.folder)
    found = artifact.verify(others=[OLDEST])
    assert found.passed
    assert [check.name for check in found.others[0].checks if not check.passed] == ["outputs"]
    assert found.others[0].passed is False


@pytest.mark.parametrize("architecture", ROPES)
def test_older_fields_change_nothing_here(architecture: str, tmp_path: Path) -> None:
    config = build(architecture, rope_parameters=ROPES[architecture]).config
    config.save_pretrained(tmp_path)
    plain = AutoConfig.from_pretrained(tmp_path).to_dict()
    if architecture == "phi3":  # both names of one thing, as every Phi-3 on the hub has it
        plain["rope_parameters"]["type"] = "longrope"
    path = tmp_path / "config.json"
    path.write_text(json.dumps(with_older_fields(json.loads(path.read_text()))))
    again = AutoConfig.from_pretrained(tmp_path).to_dict()
    assert {name: again.get(name) for name in plain} == plain


def test_a_rope_is_written_by_its_older_names() -> None:
    scaled = with_older_fields({"model_type": "llama", "rope_parameters": ROPES["llama"]})
    assert scaled["rope_theta"] == 500.0
    assert scaled["rope_scaling"] == {name: value for name, value in ROPES["llama"].items() if name != "rope_theta"}
    # What the source said before is not left beside it.
    plain = with_older_fields(
        {"model_type": "llama", "rope_scaling": {"factor": 2}, "rope_parameters": ROPES["mistral"]}
    )
    assert plain["rope_scaling"] is None
    partly = with_older_fields(
        {"model_type": "phi3", "rope_parameters": {**ROPES["phi3"], "partial_rotary_factor": 0.5}}
    )
    assert partly["partial_rotary_factor"] == 0.5
    assert partly["rope_scaling"].keys() == {"type", "short_factor", "long_factor"}
    assert with_older_fields({"model_type": "bert", "vocab_size": 3}) == {"model_type": "bert", "vocab_size": 3}


@pytest.mark.parametrize(
    ("kinds", "period"),
    [([FULL, SLIDING, SLIDING, FULL], 3), ([FULL, FULL], 1), ([FULL, SLIDING], 2), ([FULL, SLIDING, FULL, FULL], None)],
)
def test_kinds_of_attention_are_a_period_where_there_is_one(kinds: list[str], period: int | None) -> None:
    written = with_older_fields({"model_type": "modernbert", "layer_types": kinds})
    assert written["global_attn_every_n_layers"] == period


def test_a_tokenizer_is_read_by_its_file_alone_where_a_class_would_change_it(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    fields = with_older_tokenizer_fields(
        {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": ["<a>"]}, tokenizer
    )
    assert fields["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert fields["additional_special_tokens"] == ["<a>"]
    assert "extra_special_tokens" not in fields
    bert = with_older_tokenizer_fields({"tokenizer_class": "BertTokenizer"}, tiny_tokenizer("bert"))
    assert bert["tokenizer_class"] == "BertTokenizer"
    assert bert["model_input_names"] == ["input_ids", "token_type_ids", "attention_mask"]
    # One that was extended is the same here, too.
    artifact = exported("camembert", tmp_path)
    again = AutoTokenizer.from_pretrained(artifact.folder)
    assert again.extra_special_tokens == tiny_tokenizer("camembert").extra_special_tokens
    assert again(list(SENTENCES)) == tiny_tokenizer("camembert")(list(SENTENCES))


def test_other_tokens_are_found(tmp_path: Path) -> None:
    artifact = exported("bert", tmp_path)
    path = artifact.folder / "tokenizer.json"
    vocabulary = json.loads(path.read_text())
    words = vocabulary["model"]["vocab"]
    words["a"], words["##n"] = words["##n"], words["a"]
    path.write_text(json.dumps(vocabulary))
    write_sums(artifact.folder)
    assert artifact.failed().keys() == {"tokenizer"}
    assert "other tokens of 'A text" in artifact.failed()["tokenizer"]
