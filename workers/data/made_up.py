"""Inputs that mean nothing: to time a model, and to compare two that should say the same."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedConfig


def made_up_inputs(config: PreTrainedConfig, rows: int, tokens: int, *, seed: int = 0) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, int64 ``(rows, tokens)`` on the CPU, and what else the family needs."""
    vocabulary = int(config.get_text_config().vocab_size)
    ids = torch.randint(0, vocabulary, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    if not config.is_encoder_decoder:
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    # BART's classifier reads the state of the token that ends a text, and wants as many of it in every row.
    end = config.eos_token_id if isinstance(config.eos_token_id, int) else 0
    ids[ids == end] = (end + 1) % vocabulary
    ids[:, -1] = end
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": ids.clone()}
