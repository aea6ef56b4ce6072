"""Dropping layers, for every architecture and every class it may be saved from, seen from the exported files."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import LAYERS, SENTENCES, build, heads_of, tiny_model, tiny_tokenizer
from transformers import AutoModel

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from workers.export.files import export_model
from workers.loading import load_source, load_tokenizer
from workers.pruning.surgery import drop_layers, layer_count, layers_of

KEPT = ([0], [5], [0, 1, 2, 3], [1, 3, 5], [0, 1, 4, 5], [2, 3, 4])
CASES = [(architecture, head) for architecture in ARCHITECTURES for head in heads_of(architecture)]


def facts_of(folder: Path, architecture: str, layers: int = LAYERS) -> ModelFacts:
    classes = json.loads((folder / "config.json").read_text())["architectures"]
    return ModelFacts(
        id="tiny", architecture=architecture, layers=layers, hidden_size=32, classes=classes, dtype="float32"
    )


def expected_tensors(source: dict[str, torch.Tensor], architecture: str, kept: list[int]) -> dict[str, torch.Tensor]:
    """What an outsider would expect: kept layers renumbered in order, all else as it was."""
    row = ARCHITECTURES[architecture]
    if row.shared_layers:
        return source
    pattern = re.compile(rf"(?:^|\.){re.escape(row.layers)}\.(\d+)\.")
    tensors = {}
    for name, tensor in source.items():
        found = pattern.search(name)
        if found is None:
            tensors[name] = tensor
        elif int(found[1]) in kept:
            start, end = found.span(1)
            tensors[f"{name[:start]}{kept.index(int(found[1]))}{name[end:]}"] = tensor
    return tensors


@pytest.mark.parametrize(("architecture", "head"), CASES)
def test_exported_tensors_are_those_of_the_kept_layers(architecture: str, head: str, tmp_path: Path) -> None:
    folder = tiny_model(architecture, tmp_path / "source", head=head)
    source = load_file(folder / "model.safetensors")
    warnings: list[str] = []
    whole = load_source(folder, facts_of(folder, architecture), warnings)
    assert warnings == []
    for number, kept in enumerate(KEPT):
        out = tmp_path / str(number)
        model = copy.deepcopy(whole)
        drop_layers(model, ARCHITECTURES[architecture], kept)
        export_model(model, load_tokenizer(folder), out, torch.float32)

        found, expected = load_file(out / "model.safetensors"), expected_tensors(source, architecture, kept)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

        config = json.loads((out / "config.json").read_text())
        assert config[ARCHITECTURES[architecture].count_field] == len(kept)
        stock, info = getattr(transformers, config["architectures"][0]).from_pretrained(out, output_loading_info=True)
        assert type(stock) is type(whole)
        assert not any(info.values()), info
        assert stock.config.num_hidden_layers == len(kept)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_left_computes_what_the_source_computed_up_to_there(architecture: str) -> None:
    """Without its top layers a model ends where the full one stands after as many layers."""
    tokenizer = tiny_tokenizer(architecture)
    inputs = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    model = build(architecture, head="base")
    with torch.inference_mode():
        states = model(**inputs, output_hidden_states=True).hidden_states
        for left in (5, 3, 1):
            drop_layers(model, ARCHITECTURES[architecture], list(range(left)))
            torch.testing.assert_close(model(**inputs)[0], states[left])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_knows_its_new_place(architecture: str) -> None:
    row = ARCHITECTURES[architecture]
    model = build(architecture, head="base")
    kept = [1, 3, 5]
    originals = [list(layers_of(model, row))[index] for index in kept] if not row.shared_layers else None
    drop_layers(model, row, kept)
    assert layer_count(model, row) == 3
    if originals is not None:
        assert [id(layer) for layer in layers_of(model, row)] == [id(layer) for layer in originals]
    for index, layer in enumerate(layers_of(model, row)):
        assert {m.layer_idx for m in layer.modules() if hasattr(m, "layer_idx")} <= {index}
    counts = [vars(module)[row.count_field] for module in model.modules() if row.count_field in vars(module)]
    assert set(counts) <= {3}


def test_lists_with_one_entry_a_layer_are_cut_with_the_layers() -> None:
    row = replace(ARCHITECTURES["bert"], per_layer_fields=("layer_types", "absent"))
    model = build("bert", head="base")
    model.config.layer_types = [f"type {index}" for index in range(LAYERS)]
    drop_layers(model, row, [0, 4])
    assert model.config.layer_types == ["type 0", "type 4"]


def test_the_convolution_of_deberta_v2_follows_the_first_kept_layer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("deberta-v2")
    inputs = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    model = build("deberta-v2", head="base")
    assert model.encoder.conv is not None
    drop_layers(model, ARCHITECTURES["deberta-v2"], [2, 3])
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    heard = []
    loaded.encoder.conv.register_forward_hook(lambda _, args, __: heard.append(args[1]))
    loaded.encoder.layer[0].register_forward_hook(lambda *all_: heard.append(all_[2][0]))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**inputs)[0], model(**inputs)[0])
    assert len(heard) == 2
    assert torch.equal(heard[0], heard[1])


@pytest.mark.parametrize("kept", [[], [0, 0], [1, 0], [-1, 2], [0, 6]])
def test_refuses_what_is_no_ascending_choice_of_layers(kept: list[int]) -> None:
    model = build("bert", head="base")
    with pytest.raises(ValueError, match="0 to 5"):
        drop_layers(model, ARCHITECTURES["bert"], kept)
    assert len(layers_of(model, ARCHITECTURES["bert"])) == LAYERS
