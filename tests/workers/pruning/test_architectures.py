"""Every family against an outsider's view: files renamed by hand, and the full model with layers skipped."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from api_schemas.architectures import ARCHITECTURES
from api_schemas.renumbering import new_fields
from tests.support.tiny_models import LAYERS, build, heads_of, inputs_of, tiny_tokenizer
from workers.export.files import export_model
from workers.pruning.surgery import drop_layers

# Written down apart from the table that is tested: where the layers are, in names of tensors and in the base model.
PATHS = {
    "distilbert": ["transformer.layer"],
    "albert": ["encoder.albert_layer_groups"],
    "xlnet": ["layer"],
    "gpt2": ["h"],
    "opt": ["decoder.layers"],
    "t5": ["encoder.block", "decoder.block"],
    "bart": ["encoder.layers", "decoder.layers"],
}
ENCODER_LAYER = ("bert", "roberta", "camembert", "xlm-roberta", "electra", "mpnet", "deberta", "deberta-v2")
BIAS = "layer.0.SelfAttention.relative_attention_bias"

ONE = [[layer for layer in range(LAYERS) if layer != gone] for gone in range(LAYERS)]
SEVERAL = [[0], [5], [0, 3], [1, 2, 4, 5], [2, 3, 4]]
# Of two stacks of three.
BOTH = [[1, 2, 3, 5], [0, 2, 4, 5], [2, 5], [0, 1, 2, 4]]


def paths_of(architecture: str) -> list[str]:
    return PATHS.get(architecture, ["encoder.layer"] if architecture in ENCODER_LAYER else ["layers"])


def tiny(architecture: str, head: str) -> PreTrainedModel:
    """Six layers, or three and three. The convolution of deberta-v2 stands between layers, so it is left out here."""
    extra = {"conv_kernel_size": 0} if architecture == "deberta-v2" else {}
    layers = LAYERS if len(paths_of(architecture)) == 1 else LAYERS // 2
    return build(architecture, head=head, layers=layers, labels=3, **extra)


def cases_of(architecture: str) -> list[list[int]]:
    cases = [*ONE, *SEVERAL] if len(paths_of(architecture)) == 1 else [*ONE, *BOTH]
    return [kept for kept in cases if 0 in kept or architecture != "modernbert"]


def renamed(source: dict[str, torch.Tensor], architecture: str, kept: list[int]) -> dict[str, torch.Tensor]:
    """The source's tensors as the pruned model should have them, by their names alone."""
    if architecture == "albert":
        return source
    tensors = {}
    for name, tensor in source.items():
        for stack, path in enumerate(paths_of(architecture)):
            found = re.search(rf"(?:^|\.){re.escape(path)}\.(\d+)\.", name)
            if found is None:
                continue
            left = [layer % 3 for layer in kept if layer // 3 == stack] if len(paths_of(architecture)) > 1 else kept
            layer = int(found[1])
            if architecture == "t5" and BIAS in name:
                tensors[name] = tensor
            elif layer in left:
                tensors[f"{name[: found.start(1)]}{left.index(layer)}{name[found.end(1) :]}"] = tensor
            break
        else:
            tensors[name] = tensor
    return tensors


@contextmanager
def skipped(model: PreTrainedModel, architecture: str, kept: list[int]) -> Iterator[None]:
    """Inside, the layers that are not kept give on what they were given. What else they give stays: T5's bias."""
    turn = iter(range(LAYERS))

    def pass_on(number: int | None) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            # The one layer of ALBERT runs in every turn.
            if (next(turn) if number is None else number) in kept:
                return output
            before = args[0] if args else kwargs["hidden_states"]
            return (before, *output[1:]) if isinstance(output, tuple) else before

        return hook

    layers = [layer for path in paths_of(architecture) for layer in model.base_model.get_submodule(path)]
    numbers = [None] if architecture == "albert" else range(LAYERS)
    handles = [
        layer.register_forward_hook(pass_on(number), with_kwargs=True)
        for number, layer in zip(numbers, layers, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_left_is_the_source_without_those_layers(architecture: str, tmp_path: Path) -> None:
    head = next(head for head in ("causal_lm", "seq2seq_lm", "base") if head in heads_of(architecture))
    whole, inputs = tiny(architecture, head), inputs_of(architecture)
    whole.save_pretrained(tmp_path / "source")
    source = load_file(tmp_path / "source" / "model.safetensors")
    for kept in cases_of(architecture):
        pruned, out = copy.deepcopy(whole), tmp_path / "-".join(map(str, kept))
        drop_layers(pruned, ARCHITECTURES[architecture], kept)
        pruned.save_pretrained(out)

        found, expected = load_file(out / "model.safetensors"), renamed(source, architecture, kept)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

        stock, info = type(whole).from_pretrained(out, output_loading_info=True)
        assert not any(info.values()), (kept, info)
        with torch.inference_mode(), skipped(whole, architecture, kept):
            before = whole(**inputs)[0]
        with torch.inference_mode():
            for model in (pruned, stock):
                torch.testing.assert_close(model(**inputs)[0], before, msg=lambda text, kept=kept: f"{kept}: {text}")


GENERATING = [name for name, row in ARCHITECTURES.items() if row.kind != "encoder"]


@pytest.mark.parametrize("architecture", GENERATING)
def test_twenty_tokens_are_the_same_with_and_without_a_cache(architecture: str, tmp_path: Path) -> None:
    head = "seq2seq_lm" if "seq2seq_lm" in heads_of(architecture) else "causal_lm"
    whole = tiny(architecture, head)
    for kept in [[1, 2, 5]] if len(paths_of(architecture)) == 1 else [[1, 2, 5], [2, 3, 4, 5]]:
        pruned, out = copy.deepcopy(whole), tmp_path / "-".join(map(str, kept))
        drop_layers(pruned, ARCHITECTURES[architecture], kept)
        pruned.save_pretrained(out)
        prompt = inputs_of(architecture)["input_ids"][-1:, :9]
        stock = type(whole).from_pretrained(out)
        said = [generated(model, prompt, use_cache) for model in (pruned, stock) for use_cache in (True, False)]
        assert said[0].shape[1] >= 20
        assert all(torch.equal(tokens, said[0]) for tokens in said)


def generated(model: PreTrainedModel, prompt: torch.Tensor, use_cache: bool) -> torch.Tensor:
    model.generation_config = GenerationConfig(pad_token_id=0, bos_token_id=0, decoder_start_token_id=0)
    mask = torch.ones_like(prompt)
    return model.generate(prompt, attention_mask=mask, max_new_tokens=20, do_sample=False, use_cache=use_cache)


@pytest.mark.parametrize("architecture", GENERATING)
def test_tied_weights_stay_tied(architecture: str, tmp_path: Path) -> None:
    model = build(architecture, head=heads_of(architecture)[1], layers=3, tie_word_embeddings=True)
    count = len(ARCHITECTURES[architecture].stacks)
    drop_layers(model, ARCHITECTURES[architecture], [0, 2, 3, 5][: 2 * count])
    export_model(model, tiny_tokenizer(architecture), tmp_path, torch.float32)
    stock, info = getattr(transformers, type(model).__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert stock.get_output_embeddings().weight is stock.get_input_embeddings().weight
    assert not any("lm_head.weight" in name for name in load_file(tmp_path / "model.safetensors"))


TYPED = [name for name, row in ARCHITECTURES.items() if row.implied_types is not None]
OLD_FIELDS = [
    ("modernbert", {"global_attn_every_n_layers": 2}),
    ("modernbert", {}),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 4, "sliding_window": 8}),
    ("qwen2", {"use_sliding_window": False, "max_window_layers": 4}),
    ("qwen3", {"use_sliding_window": True, "max_window_layers": 2}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 2}),
    ("qwen3", {}),
    ("gemma2", {}),
    ("gemma3_text", {"sliding_window_pattern": 4}),
    ("gemma3_text", {}),
]


def test_every_family_whose_layers_differ_in_kind_is_among_the_cases() -> None:
    assert set(TYPED) == {name for name, _ in OLD_FIELDS}
    for name in ARCHITECTURES:
        assert bool(getattr(AutoConfig.for_model(name), "layer_types", None)) == (name in TYPED)


@pytest.mark.parametrize(("architecture", "fields"), OLD_FIELDS)
def test_a_file_that_does_not_spell_the_kinds_out_is_read_as_transformers_reads_it(
    architecture: str, fields: dict[str, Any]
) -> None:
    """Only then can a file be rewritten without a model: the kinds follow from numbers that are about to change."""
    config = {"num_hidden_layers": 9, **fields}
    kinds = AutoConfig.for_model(architecture, **config).layer_types
    kept = [0, 3, 4, 7, 8]
    cut = new_fields(ARCHITECTURES[architecture], config, [kept])
    assert cut["layer_types"] == [kinds[layer] for layer in kept]
    assert AutoConfig.for_model(architecture, **config | cut).layer_types == cut["layer_types"]
    # What older versions go by says the same, where it can.
    if config.get("max_window_layers") and "sliding_attention" in kinds:
        without = {name: value for name, value in (config | cut).items() if name != "layer_types"}
        assert AutoConfig.for_model(architecture, **without).layer_types == cut["layer_types"]


def test_a_count_under_two_names_is_changed_under_both(tmp_path: Path) -> None:
    """As facebook/bart-base has it: encoder_layers, and num_hidden_layers beside it."""
    config = {"encoder_layers": 6, "decoder_layers": 6, "num_hidden_layers": 6}
    cut = new_fields(ARCHITECTURES["bart"], config, [[0, 1], [0, 5, 3]])
    assert cut == {"encoder_layers": 2, "decoder_layers": 3, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart", **config, **cut}))
    read = AutoConfig.from_pretrained(tmp_path)
    assert (read.encoder_layers, read.decoder_layers) == (2, 3)


def test_t5_without_a_count_for_its_decoder_has_as_many_as_its_encoder() -> None:
    row = ARCHITECTURES["t5"]
    assert row.sizes({"num_layers": 6}) == row.sizes({"num_layers": 6, "num_decoder_layers": None}) == (6, 6)
    fields = new_fields(row, {"num_layers": 6}, [[0, 1], list(range(6))])
    assert (fields["num_layers"], fields["num_decoder_layers"]) == (2, 6)
