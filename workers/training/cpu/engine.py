"""What of the engine suits a model and a device: it is in place inside, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel

from workers.runtime.malloc import keep_freed_memory
from workers.training.cpu.attention_choice import quick_attention
from workers.training.cpu.contract import objection
from workers.training.cpu.dropout import quick_dropout
from workers.training.cpu.packed_encoder import fits, packed_encoder

EngineName = Literal["packed", "quick", "plain"]


@dataclass(frozen=True)
class Engine:
    """What computes inside a ``fast_path``.

    ``packed``: an encoder without padding in place of the model's own, quick dropout, plain attention. ``quick``: these
    two in the model's own layers. ``plain``: the model's own. ``stock``: its word embeddings are to stay its own too.
    ``refused``: why a model that the engine is asked to train is left as it is.
    """

    name: EngineName
    stock: bool = False
    refused: str | None = None


@contextmanager
def fast_path(
    model: PreTrainedModel,
    device: torch.device,
    dtype: torch.dtype,
    *,
    left: bool,
    on: bool = True,
    frozen: bool = False,
) -> Iterator[Engine]:
    """Inside, ``model`` computes what it would, sooner: matrix products in ``dtype``, its own weights, its own answer.

    Nothing is touched on a GPU, where it is not ``on``, and where the model is not as README.md wants it. ``left``:
    padding comes before the text. ``frozen``: the weights do not change inside, and all calls ask for the same. Hidden
    states that are asked for are to be read with ``real_tokens``.
    """
    engine = _choose(model, device, left=left, on=on)
    if engine.name == "plain":
        yield engine
        return
    keep_freed_memory()
    packed = packed_encoder(model, dtype, frozen=frozen) if engine.name == "packed" else nullcontext()
    with quick_dropout(model), quick_attention(model), packed:
        yield engine


def _choose(model: PreTrainedModel, device: torch.device, *, left: bool, on: bool) -> Engine:
    if not on:
        return Engine("plain", stock=True)
    packs = device.type == "cpu" and not left and fits(model)
    refused = objection(model, packs=packs)
    if refused:
        return Engine("plain", stock=True, refused=refused)
    if device.type != "cpu":
        return Engine("plain")
    return Engine("packed" if packs else "quick")
