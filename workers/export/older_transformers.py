"""Has `transformers` 4.57 read what `transformers` 5 writes: fields that one of them does not know are written twice.

Without this, 4.57 loads many a decoder without a word, and computes something else. Each field of older releases is
made of the newer one beside it, so both always say the same. Pure functions over the JSON of a folder, but for the
last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from api_schemas.architectures import FULL, SLIDING

#: What the version is called that all this is for; `make peers` installs it.
OLDEST = "4.57"

Fields = dict[str, Any]

#: Where one rope is not for all layers: the older names of each one's base, by the kind of attention.
BASES = {
    "gemma3_text": {FULL: "rope_theta", SLIDING: "rope_local_base_freq"},
    "modernbert": {FULL: "global_rope_theta", SLIDING: "local_rope_theta"},
}
#: In one dict with the base now; in older releases fields of their own.
OF_ITS_OWN = ("rope_theta", "partial_rotary_factor")
#: 4.57's Phi3 refuses a scaling with any other field; the rest stands in its config already.
PHI3_SCALING = ("type", "short_factor", "long_factor")

#: Of 4.57, these put tokens around a text by what their own arguments say, whatever tokenizer.json says; the one that
#: all are made of does not exist there. `PreTrainedTokenizerFast` is known to both, and reads tokenizer.json alone.
NOT_BY_THE_FILE = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer", "TokenizersBackend")
BY_THE_FILE = "PreTrainedTokenizerFast"


def with_older_fields(config: Mapping[str, Any]) -> Fields:
    """A ``config.json`` with the fields that 4.57 reads in place of those that it does not know."""
    fields: Fields = dict(config)
    for older in _OLDER:
        fields |= older(config)
    return fields


def with_older_tokenizer_fields(config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Fields:
    """The ``tokenizer_config.json`` of ``tokenizer`` likewise; what follows from its class in 5 is written out."""
    fields: Fields = dict(config) | {
        "model_input_names": list(tokenizer.model_input_names),
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
    }
    # A list by this name ends in an AttributeError there. By the older name, both read it.
    if isinstance(fields.get("extra_special_tokens"), list):
        fields["additional_special_tokens"] = fields.pop("extra_special_tokens")
    if tokenizer.is_fast and fields.get("tokenizer_class") in NOT_BY_THE_FILE:
        fields["tokenizer_class"] = BY_THE_FILE
    return fields


def _rope(config: Mapping[str, Any]) -> Fields:
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return {}
    bases = BASES.get(str(config.get("model_type")))
    if bases is None:
        return _one_rope(rope, str(config.get("model_type")))
    found = {name: rope[kind]["rope_theta"] for kind, name in bases.items() if "rope_theta" in (rope.get(kind) or {})}
    return found | {name: value for name, value in _scaling(rope.get(FULL) or {}).items() if value}


def _one_rope(rope: Fields, model_type: str) -> Fields:
    scaling = _scaling(rope)
    if model_type == "phi3" and scaling["rope_scaling"]:
        long = {"type": rope["rope_type"], **rope}
        scaling = {"rope_scaling": {name: long[name] for name in PHI3_SCALING if name in long}}
    return {name: rope[name] for name in OF_ITS_OWN if name in rope} | scaling


def _scaling(rope: Fields) -> Fields:
    """None where nothing is scaled, so that a stale one of the source goes."""
    scaled = rope.get("rope_type", "default") != "default"
    return {"rope_scaling": {name: rope[name] for name in rope if name not in OF_ITS_OWN} if scaled else None}


def _dtype(config: Mapping[str, Any]) -> Fields:
    return {"torch_dtype": config["dtype"]} if isinstance(config.get("dtype"), str) else {}


def _period(config: Mapping[str, Any]) -> Fields:
    """ModernBERT's kinds of attention followed from a layer's number alone. Where no period says which of the layers
    that are left see the whole text, null does: 4.57 stops at it, and would compute something else with any number.
    """
    if config.get("model_type") != "modernbert" or not isinstance(config.get("layer_types"), list):
        return {}
    whole = [kind == FULL for kind in config["layer_types"]]
    periods = range(1, len(whole) + 1)
    fitting = (every for every in periods if whole == [layer % every == 0 for layer in range(len(whole))])
    return {"global_attn_every_n_layers": next(fitting, None)}


def _attention(config: Mapping[str, Any]) -> Fields:
    """The attention that 4.57 has for Gemma 2 by itself leaves its soft caps out; that of 5 is this one anyway."""
    capped = config.get("model_type") == "gemma2" and config.get("attn_logit_softcapping") is not None
    return {"attn_implementation": "eager"} if capped else {}


def _context(config: Mapping[str, Any]) -> Fields:
    """GPT-2's positions by the name that 5 does not write any more, and llama.cpp's converter reads."""
    return {"n_ctx": config["n_positions"]} if config.get("model_type") == "gpt2" and "n_positions" in config else {}


_OLDER: tuple[Callable[[Mapping[str, Any]], Fields], ...] = (_rope, _dtype, _period, _attention, _context)


def write_older_fields(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Rewrite ``config.json`` and ``tokenizer_config.json`` in ``folder``; ``tokenizer`` is the one that was saved."""
    _rewrite(folder / "config.json", with_older_fields)
    _rewrite(folder / "tokenizer_config.json", lambda config: with_older_tokenizer_fields(config, tokenizer))


def _rewrite(path: Path, change: Callable[[Fields], Fields]) -> None:
    changed = change(json.loads(path.read_bytes()))
    path.write_text(json.dumps(changed, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
