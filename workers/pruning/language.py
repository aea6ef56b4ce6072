"""The loss of a language model on plain text: what `taylor` goes by where there is no task."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from workers.pruning.importance import Batch, Loss

MASKED_SHARE = 0.15


def next_token(batch: Batch) -> tuple[Batch, Loss]:
    """A decoder's: the cross-entropy of each token that is not padding, given those before it."""
    mask = batch["attention_mask"].bool()
    asked = mask[:, 1:] & mask[:, :-1]
    ids = batch["input_ids"]
    return batch, lambda logits: _mean(logits[:, :-1], ids[:, 1:], asked)


def masked_token(batch: Batch, tokenizer: PreTrainedTokenizerBase, draw: torch.Generator) -> tuple[Batch, Loss]:
    """An encoder's: the cross-entropy of tokens behind the mask, 15 % of each row and at least one.

    ``draw``, of the CPU, says which. Padding and special tokens are not asked for.
    """
    ids = batch["input_ids"]
    special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
    free = batch["attention_mask"].bool() & ~torch.isin(ids, special)
    drawn = torch.rand(ids.shape, generator=draw).to(ids.device).masked_fill(~free, 2.0)
    asked = free & (drawn <= drawn.amin(dim=1, keepdim=True).clamp(min=MASKED_SHARE))
    hidden = {**batch, "input_ids": ids.masked_fill(asked, tokenizer.mask_token_id)}
    return hidden, lambda logits: _mean(logits, ids, asked)


def _mean(logits: Tensor, ids: Tensor, asked: Tensor) -> Tensor:
    """The mean over rows of the mean over a row's asked tokens; ``logits`` are (rows, tokens, vocabulary)."""
    losses = F.cross_entropy(logits.mT, ids, reduction="none").where(asked, 0)
    return (losses.sum(1) / asked.sum(1).clamp(min=1)).mean()
