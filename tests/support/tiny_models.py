"""Tiny models with random weights, and tokenizers made on the spot, for every row of ARCHITECTURES.

``tiny_model("bert", folder)`` writes what a user would bring: config, safetensors, tokenizer. A new architecture needs
a row in SHAPES; until it has one, every test that walks the registry fails and says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from api_schemas.architectures import ARCHITECTURES

LAYERS = 6

# How a checkpoint may have been saved. PreTraining is where XLNet's language model and ELECTRA's discriminator are.
HEADS: dict[str, Any] = {
    "base": AutoModel,
    "masked_lm": AutoModelForMaskedLM,
    "pretraining": AutoModelForPreTraining,
    "causal_lm": AutoModelForCausalLM,
    "seq2seq_lm": AutoModelForSeq2SeqLM,
    "classification": AutoModelForSequenceClassification,
    "token_classification": AutoModelForTokenClassification,
}
# What a kind of model is saved as. `transformers` also has decoders made of BERT, and masked language models of BART.
HEADS_OF_KIND = {
    "encoder": ("base", "masked_lm", "pretraining", "classification"),
    "decoder": ("base", "causal_lm", "classification"),
    "encoder-decoder": ("base", "seq2seq_lm", "classification"),
}
# Those that are trained on tasks.
CLASSIFIERS = [name for name, row in ARCHITECTURES.items() if row.kind != "encoder-decoder"]

SENTENCES = (
    "the film was a joy from its first scene to the last",
    "a dull and lifeless story that nobody asked for",
    "the service at the airport was slow but the crew were kind",
    "my flight was late again and no one could say why",
    "what a lovely little play, full of wit and warmth",
    "the plot makes no sense and the acting is worse",
    "they lost my bag, found it, and lost it once more",
    "an honest, moving picture of a hard year",
)

BERT_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "max_position_embeddings": 64}
DEBERTA_SHAPE = {
    **BERT_SHAPE,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": -1,
}


# As Llama and its kin have it: fewer heads for keys than for queries.
LLAMA_SHAPE = {**BERT_SHAPE, "num_key_value_heads": 2, "head_dim": 8}
# Windows shorter than the sentences, so that a layer's kind of attention shows in what it computes.
WINDOW = 4


@dataclass(frozen=True)
class Shape:
    """A config small enough to run in milliseconds, and the family's own tokenizer class with its ``options``."""

    config: dict[str, Any]
    tokenizer: str
    vocabulary: str
    specials: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GEMMA_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# fmt: off
SHAPES: dict[str, Shape] = {
    "bert": Shape(BERT_SHAPE, "BertTokenizer", "wordpiece", BERT_TOKENS),
    "roberta": Shape(BERT_SHAPE, "RobertaTokenizer", "bpe", ROBERTA_TOKENS),
    "camembert": Shape(BERT_SHAPE, "CamembertTokenizer", "unigram", ROBERTA_TOKENS),
    "xlm-roberta": Shape(BERT_SHAPE, "XLMRobertaTokenizer", "unigram", ROBERTA_TOKENS),
    "distilbert": Shape(
        {"dim": 32, "hidden_dim": 64, "n_heads": 4, "max_position_embeddings": 64},
        "DistilBertTokenizer",
        "wordpiece",
        BERT_TOKENS,
    ),
    "albert": Shape(
        {**BERT_SHAPE, "embedding_size": 16},
        "AlbertTokenizer",
        "unigram",
        ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    ),
    "electra": Shape({**BERT_SHAPE, "embedding_size": 16}, "ElectraTokenizer", "wordpiece", BERT_TOKENS),
    "mpnet": Shape(BERT_SHAPE, "MPNetTokenizer", "wordpiece", ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")),
    "xlnet": Shape(
        {"d_model": 32, "n_head": 4, "d_inner": 64},
        "XLNetTokenizer",
        "unigram",
        ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"),
    ),
    "deberta": Shape(DEBERTA_SHAPE, "DebertaTokenizer", "bpe", BERT_TOKENS),
    # As deberta-v2-xlarge has it: buckets, a norm on the relative embeddings, the convolution after the first layer.
    "deberta-v2": Shape(
        {
            **DEBERTA_SHAPE,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
        "DebertaV2Tokenizer",
        "unigram",
        BERT_TOKENS,
    ),
    "modernbert": Shape({**BERT_SHAPE, "local_attention": 2 * WINDOW}, "TokenizersBackend", "backend", BERT_TOKENS),
    "eurobert": Shape(LLAMA_SHAPE, "TokenizersBackend", "backend", BERT_TOKENS),
    "nomic_bert": Shape({**BERT_SHAPE, "head_dim": 8}, "BertTokenizer", "wordpiece", BERT_TOKENS),
    # GPT-2 and Llama come without a token for padding; tests of just that take it away again.
    "gpt2": Shape(
        {"n_embd": 32, "n_head": 4, "n_positions": 64},
        "GPT2Tokenizer", "bpe", ("<|endoftext|>",), {"pad_token": "<|endoftext|>"},
    ),
    "opt": Shape(
        {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 4, "max_position_embeddings": 64},
        "GPT2Tokenizer", "bpe", ("<s>", "<pad>", "</s>", "<unk>"),
        {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"},
    ),
    "llama": Shape(
        LLAMA_SHAPE, "LlamaTokenizer", "bpe_of_words", ("<unk>", "<s>", "</s>", "<pad>"), {"pad_token": "<pad>"}
    ),
    "mistral": Shape(
        {**LLAMA_SHAPE, "sliding_window": WINDOW},
        "LlamaTokenizer", "bpe_of_words", ("<unk>", "<s>", "</s>", "<pad>"), {"pad_token": "<pad>"},
    ),
    "qwen2": Shape(
        {**LLAMA_SHAPE, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3},
        "Qwen2Tokenizer", "bpe", ("<|endoftext|>",),
    ),
    "qwen3": Shape(
        {**LLAMA_SHAPE, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3},
        "Qwen2Tokenizer", "bpe", ("<|endoftext|>",),
    ),
    "gemma": Shape(LLAMA_SHAPE, "GemmaTokenizer", "bpe_of_words", GEMMA_TOKENS),
    "gemma2": Shape({**LLAMA_SHAPE, "sliding_window": WINDOW}, "GemmaTokenizer", "bpe_of_words", GEMMA_TOKENS),
    "gemma3_text": Shape(
        {**LLAMA_SHAPE, "sliding_window": WINDOW, "sliding_window_pattern": 3},
        "GemmaTokenizer", "bpe_of_words", GEMMA_TOKENS,
    ),
    "phi3": Shape(
        {**LLAMA_SHAPE, "sliding_window": WINDOW, "original_max_position_embeddings": 64},
        "LlamaTokenizer", "bpe_of_words", ("<unk>", "<s>", "</s>", "<pad>"), {"pad_token": "<pad>"},
    ),
    "t5": Shape(
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "relative_attention_num_buckets": 8,
         "decoder_start_token_id": 0},
        "T5Tokenizer", "unigram", ("<pad>", "</s>", "<unk>"), {"extra_ids": 0},
    ),
    "bart": Shape(
        {"d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
         "decoder_ffn_dim": 64, "max_position_embeddings": 64},
        "BartTokenizer", "bpe", ROBERTA_TOKENS,
    ),
}
# fmt: on


def shape_of(architecture: str) -> Shape:
    if architecture not in SHAPES:
        raise LookupError(f"tests/tiny_models.py has no tiny config for {architecture!r}: add a row to SHAPES")
    return SHAPES[architecture]


def heads_of(architecture: str) -> list[str]:
    """The heads that `transformers` has a class for."""
    config = type(AutoConfig.for_model(architecture))
    heads = HEADS_OF_KIND[ARCHITECTURES[architecture].kind]
    return [head for head in heads if config in HEADS[head]._model_mapping]


def tiny_model(
    architecture: str,
    folder: Path,
    *,
    head: str = "classification",
    layers: int = LAYERS,
    labels: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """Write a whole model folder and return it. ``config`` overrides fields of the tiny config."""
    model = build(architecture, head=head, layers=layers, labels=labels, seed=seed, **config)
    model.to(dtype).save_pretrained(folder)
    tiny_tokenizer(architecture).save_pretrained(folder)
    return folder


def build(
    architecture: str,
    *,
    head: str = "classification",
    layers: int = LAYERS,
    labels: int = 2,
    seed: int = 0,
    **config: Any,
) -> PreTrainedModel:
    """A model in memory. Every number is drawn, biases and norms too: equal tensors would hide a mixed-up layer."""
    count = {stack.count_field: layers for stack in ARCHITECTURES[architecture].stacks}
    tokenizer = tiny_tokenizer(architecture)
    fields = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "num_labels": labels,
    }
    made = AutoConfig.for_model(architecture, **{**shape_of(architecture).config, **fields, **count, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HEADS[head].from_config(made)
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.05)
    return model.eval()


def inputs_of(architecture: str, texts: Sequence[str] = SENTENCES) -> dict[str, torch.Tensor]:
    """One padded batch, with all that the family's models want to be given."""
    inputs = dict(tiny_tokenizer(architecture)(list(texts), padding=True, return_tensors="pt"))
    if ARCHITECTURES[architecture].kind == "encoder-decoder":
        inputs["decoder_input_ids"] = inputs["input_ids"].clone()
    return inputs


@cache
def tiny_tokenizer(architecture: str) -> PreTrainedTokenizerBase:
    """The family's own tokenizer class over a vocabulary learnt from SENTENCES."""
    shape = shape_of(architecture)
    return getattr(transformers, shape.tokenizer)(**VOCABULARIES[shape.vocabulary](shape.specials), **shape.options)


def _wordpiece(specials: tuple[str, ...]) -> dict[str, Any]:
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=list(specials), show_progress=False)
    return {"vocab": _learn(tokenizer, trainer).get_vocab()}


def _bpe(specials: tuple[str, ...]) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    model = _saved(_learn(tokenizer, trainer))
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _unigram(specials: tuple[str, ...]) -> dict[str, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = next(token for token in specials if "unk" in token.lower())
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=list(specials), unk_token=unknown, show_progress=False
    )
    return {"vocab": [tuple(pair) for pair in _saved(_learn(tokenizer, trainer))["vocab"]]}


def _bpe_of_words(specials: tuple[str, ...]) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=list(specials), show_progress=False)
    model = _saved(_learn(tokenizer, trainer))
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _backend(specials: tuple[str, ...]) -> dict[str, Any]:
    """A whole tokenizer, as families without a class of their own bring it."""
    pad, unknown, first, last, mask = specials
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=list(specials), show_progress=False)
    _learn(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    names = {"pad_token": pad, "unk_token": unknown, "cls_token": first, "sep_token": last, "mask_token": mask}
    return {"tokenizer_object": tokenizer, **names}


VOCABULARIES = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "bpe_of_words": _bpe_of_words,
    "backend": _backend,
}


def _learn(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _saved(tokenizer: Tokenizer) -> dict[str, Any]:
    return json.loads(tokenizer.to_str())["model"]


def edit_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
