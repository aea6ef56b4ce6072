"""Of the model: it loads whole, has its layers, says what it said, and generates."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from .loaded import Said, distance, listed, load, near, of_text, probe, tolerance

# Tokens; fewer of a model that is larger than memory, and read from its files again for each.
GENERATED = {False: 20, True: 3}


def check_loads(asked: dict[str, Any], loaded: Any) -> Said:
    """The class that config.json names loads, and every tensor has its place; in a copy, all that had one before."""
    model, info = loaded()
    wrong = [f"{what.removesuffix('_keys')}: {listed(info[what])}" for what in sorted(info) if info[what]]
    if not wrong:
        return True, f"{type(model).__name__} has all its tensors, and no other"
    if not asked["source"]:
        return False, "; ".join(wrong)
    alike = _wrong_before(asked, type(model)).issuperset(_pairs(info))
    return alike, f"{'as in' if alike else 'not all as in'} the original, {'; '.join(wrong)}"


def _wrong_before(asked: dict[str, Any], stock_class: Any) -> set[tuple[str, str]]:
    """What is wrong with the original, by the names that its tensors have now."""
    new = {old: name for name, (_, old) in asked["source"]["origins"].items()}
    # It may ask for an attention that this machine lacks; which one computes does not change what its tensors are.
    dtype = getattr(torch, asked["dtype"])
    _, info = load(asked["source"]["folder"], dtype, stock_class, attn_implementation="eager")
    return {(what, new.get(key, key)) for what, key in _pairs(info)}


def _pairs(info: dict[str, Any]) -> set[tuple[str, str]]:
    return {(what, str(key)) for what, keys in info.items() for key in keys}


def check_layers(asked: dict[str, Any], loaded: Any) -> Said:
    """config.json says the right number of layers, and a text goes through as many."""
    model, _ = loaded()
    counts = {field: getattr(model.config, field) for field in asked["layers"]}
    out = model.base_model(**probe(asked)[0], output_hidden_states=True)
    names = ("encoder_hidden_states", "decoder_hidden_states") if len(counts) > 1 else ("hidden_states",)
    ran = [len(getattr(out, name)) - 1 for name in names]
    kept = list(asked["layers"].values())
    said = (" and ".join(map(str, numbers)) for numbers in (counts.values(), ran, kept))
    return list(counts.values()) == ran == kept, "config says {}, {} ran, {} were kept".format(*said)


def check_outputs(asked: dict[str, Any], loaded: Any) -> Said:
    """The outputs are those of the model that was exported."""
    model, info = loaded()
    inputs, expected = probe(asked)
    found, base = outputs_of(model, inputs)
    if info["missing_keys"]:  # drawn at random whenever it is loaded, as in the original: only what comes before counts
        found, expected = base, load_file(asked["probe"])["expected_base"]
    if found.shape != expected.shape:
        return False, f"shape {list(found.shape)}, not {list(expected.shape)}"
    found, expected = of_text(found, inputs), of_text(expected, inputs)
    far, allowed = distance(found, expected), tolerance(expected)
    detail = f"largest difference {far:.2g} over {expected.numel()} outputs, {allowed:.2g} allowed"
    return near(found, expected), detail


def outputs_of(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the model, and of its base on the way, or by itself where the model goes past it, as OPT does."""
    on_the_way: list[torch.Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _module, _inputs, output: on_the_way.append(output[0]))
    try:
        outputs = model(**inputs)[0]
        return outputs, on_the_way[0] if on_the_way else model.base_model(**inputs)[0]
    finally:
        hook.remove()


def check_generates(asked: dict[str, Any], loaded: Any) -> Said:
    """The tokens it generates with a key-value cache are those that it would choose without one.

    Each layer looks its own past up by its number. Where two tokens are as good within rounding, either is right.
    """
    if asked["kind"] == "encoder":
        return True, "an encoder does not generate"
    model, _ = loaded()
    if not model.can_generate():
        return True, f"{type(model).__name__} does not generate"
    count = GENERATED[asked["mapped"]]
    prompt = _prompt(asked, model, count)
    config, encodes = model.config, model.config.is_encoder_decoder
    first = model.generation_config.decoder_start_token_id
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id or 0,
        bos_token_id=config.bos_token_id,
        decoder_start_token_id=(config.pad_token_id or 0) if encodes and first is None else first,
    )
    given = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    said = model.generate(**given, max_new_tokens=count, do_sample=False, use_cache=True)
    whole = {**given, "decoder_input_ids": said[:, :-1]} if encodes else {"input_ids": said[:, :-1]}
    logits = model(**whole, use_cache=False).logits[0, -count:]
    chosen = logits.gather(1, said[0, -count:, None])[:, 0]
    return near(chosen, logits.max(1).values), f"{count} tokens with a cache, compared with one pass without"


def _prompt(asked: dict[str, Any], model: Any, count: int) -> Any:
    """The first text of the probe without its padding, and short enough to go on from."""
    inputs, _ = probe(asked)
    ids = inputs["input_ids"][:1, inputs["attention_mask"][0].bool()]
    longest = getattr(model.config, "max_position_embeddings", None) or ids.shape[1] + count
    return ids[:, : max(1, longest - count)]
