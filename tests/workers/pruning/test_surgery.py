"""Dropping layers, for every architecture and every class it may be saved from, seen from the exported files."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModel

from api_schemas.architectures import ARCHITECTURES, Architecture
from api_schemas.plans import make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.renumbering import new_fields, new_key, split_layers
from api_schemas.requests import ModelRef
from sources.model_folder import folder_of, read_facts
from tests.support.tiny_models import LAYERS, SENTENCES, build, heads_of, tiny_model, tiny_tokenizer
from workers.export.files import export_model
from workers.export.older_transformers import with_older_fields
from workers.pruning.surgery import drop_layers, layer_count, layers_of
from workers.runtime.loading import load_source, load_tokenizer

KEPT = ([0], [0, 1, 2, 3], [1, 3, 5])
CASES = [(architecture, head) for architecture in ARCHITECTURES for head in heads_of(architecture)]


def kept_of(architecture: str) -> list[list[int]]:
    """Those of KEPT that the family can do, of each of its stacks."""
    row = ARCHITECTURES[architecture]
    return [
        [layer + LAYERS * stack for stack in range(len(row.stacks)) for layer in kept]
        for kept in KEPT
        if kept[0] == 0 or not row.first_stays
    ]


def request_of(row: Architecture, left: list[list[int]]) -> Any:
    """As a request names them: a list, or one for each stack."""
    return {stack.name: own for stack, own in zip(row.stacks, left, strict=True)} if len(left) > 1 else left[0]


@pytest.mark.parametrize(("architecture", "head"), CASES)
def test_every_class_that_a_model_is_saved_from_is_cut_and_loads_again(
    architecture: str, head: str, tmp_path: Path
) -> None:
    row = ARCHITECTURES[architecture]
    folder = tiny_model(architecture, tmp_path / "source", head=head, labels=3)
    source = load_file(folder / "model.safetensors")
    warnings: list[str] = []
    facts = read_facts(folder_of(folder, str(folder)), ModelRef(id=str(folder)))
    assert facts.layers == LAYERS * len(row.stacks)
    assert facts.num_labels == (3 if head == "classification" else None)
    whole = load_source(folder, facts, warnings)
    assert warnings == []
    for number, kept in enumerate(kept_of(architecture)):
        out, sizes = tmp_path / str(number), [LAYERS] * len(row.stacks)
        model = copy.deepcopy(whole)
        drop_layers(model, row, kept)
        export_model(model, load_tokenizer(folder), out, torch.float32)

        # The same, by renaming alone, as files are pruned without a model.
        found, left = load_file(out / "model.safetensors"), split_layers(kept, sizes)
        expected = {new_key(row, name, left): tensor for name, tensor in source.items()}
        expected.pop(None, None)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

        plan = make_plan(PruneSpec(strategy="explicit", keep_layers=request_of(row, left)), facts, seed=0)
        assert plan.kept == kept
        assert plan.parameters_after == sum(tensor.numel() for tensor in found.values())

        before, config = (json.loads((at / "config.json").read_text()) for at in (folder, out))
        changed = {name: value for name, value in config.items() if value != before.get(name)}
        fields = new_fields(row, before, left)
        expected_fields = with_older_fields({**before, **fields})
        assert changed == {name: value for name, value in expected_fields.items() if value != before.get(name)}
        stock, info = getattr(transformers, config["architectures"][0]).from_pretrained(out, output_loading_info=True)
        assert type(stock) is type(whole)
        assert not any(info.values()), info


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_knows_its_new_place(architecture: str) -> None:
    row = ARCHITECTURES[architecture]
    model = build(architecture, head="base")
    kept = kept_of(architecture)[-1]
    left = len(kept) // len(row.stacks)
    originals = [list(layers_of(model, row))[index] for index in kept] if not row.shared_layers else None
    drop_layers(model, row, kept)
    assert layer_count(model, row) == len(kept)
    if originals is not None:
        assert [id(layer) for layer in layers_of(model, row)] == [id(layer) for layer in originals]
    for index, layer in enumerate(layers_of(model, row)):
        assert {m.layer_idx for m in layer.modules() if hasattr(m, "layer_idx")} <= {index % left}
    counts = [vars(module)[row.count_field] for module in model.modules() if row.count_field in vars(module)]
    assert set(counts) <= {left}


def test_lists_with_one_entry_a_layer_are_cut_with_the_layers() -> None:
    row = replace(ARCHITECTURES["bert"], per_layer_fields=("layer_types", "absent"))
    model = build("bert", head="base")
    model.config.layer_types = [f"type {index}" for index in range(LAYERS)]
    drop_layers(model, row, [0, 4])
    assert model.config.layer_types == ["type 0", "type 4"]


def test_overrides_of_single_layers_follow_them(tmp_path: Path) -> None:
    """As `transformers` 5 has them: of fields that no class reads for all layers at once, so that a Llama loads."""
    overrides = {"0": {"note": "first"}, "3": {"note": "fourth"}, "5": {"note": "last"}}
    model = build("llama", head="base", note="of most", per_layer_config=overrides)
    drop_layers(model, ARCHITECTURES["llama"], [1, 3, 5])
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["per_layer_config"] == {
        "1": {"note": "fourth"},
        "2": {"note": "last"},
    }
    again = AutoModel.from_pretrained(tmp_path)
    assert [layer.note for layer in again.config.per_layer_config] == ["of most", "fourth", "last"]
    drop_layers(again, ARCHITECTURES["llama"], [0])
    assert not again.config.is_heterogeneous, "no layer that differs is left"


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
