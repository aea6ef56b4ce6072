"""An encoder that computes what its answer depends on, and no more: no padding, and of the last layer one token a row.

On a CPU most of a step is matrix products, whose speed is the machine's: what is left to save is not to ask for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from workers.training.blocks import BLOCKS, Block
from workers.training.dropout import dropout_mask
from workers.training.packing import Packing


class _Attention(torch.autograd.Function):
    """Softmax attention with dropout, each step in the kernel that is fastest for it on a CPU.

    ``query`` ``(N, Q, D)`` is scaled already; ``key`` and ``value`` ``(N, K, D)``; ``bias`` ``(N, Q, K)`` or None.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, p: float) -> Tensor:
        turned = key.transpose(1, 2)
        scores = torch.bmm(query, turned) if bias is None else torch.baddbmm(bias, query, turned)
        # Torch's bf16 softmax is slower than the one in float32 and two casts, and rounds more.
        shares = torch.softmax(scores.float(), -1).to(scores.dtype)
        mask = dropout_mask(shares.shape, p, shares.dtype) if p else None
        kept = shares if mask is None else shares * mask
        ctx.save_for_backward(query, key, value, shares, mask, kept)
        return torch.bmm(kept, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, shares, mask, kept = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_shares = torch.bmm(gradient, value.transpose(1, 2))
        if mask is not None:
            of_shares.mul_(mask)
        of_scores = torch._softmax_backward_data(of_shares.float(), shares.float(), -1, torch.float32)
        of_scores = of_scores.to(shares.dtype)
        of_key = torch.bmm(of_scores.transpose(1, 2), query)
        return torch.bmm(of_scores, key), of_key, torch.bmm(kept.transpose(1, 2), gradient), None, None


class _Joined(torch.autograd.Function):
    """Weights or biases below one another, in another dtype; the first times ``scale``. Each is read once."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, scale: float, *parts: Tensor) -> Tensor:
        ctx.scale, ctx.sizes, ctx.dtype = scale, [len(part) for part in parts], parts[0].dtype
        joined = parts[0].new_empty(sum(ctx.sizes), *parts[0].shape[1:], dtype=dtype)
        first, *others = joined.split(ctx.sizes)
        torch.mul(parts[0], scale, out=first)
        for place, part in zip(others, parts[1:], strict=True):
            place.copy_(part)
        return joined

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, *others = (part.to(ctx.dtype, copy=True) for part in gradients[0].split(ctx.sizes))
        return None, None, first.mul_(ctx.scale), *others


class _AddDropped(torch.autograd.Function):
    """``base + states * mask``: ``base`` and ``mask`` float32, ``states`` in any dtype."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.dtype = states.dtype
        return torch.addcmul(base, states.float(), mask)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0], (gradients[0] * mask).to(ctx.dtype), None


def _linear(states: Tensor, *layers: nn.Linear, scale: float = 1.0) -> Tensor:
    """What ``layers`` make of the states, side by side; the first one's times ``scale``."""
    weight = _Joined.apply(states.dtype, scale, *(layer.weight for layer in layers))
    bias = _Joined.apply(states.dtype, scale, *(layer.bias for layer in layers))
    return F.linear(states, weight, bias)


def _add(base: Tensor, states: Tensor, p: float) -> Tensor:
    return _AddDropped.apply(base, states, dropout_mask(states.shape, p, torch.float32)) if p else base + states


class PackedEncoder:
    """Takes the place of an encoder's ``forward`` while it is trained.

    Between layers, states are float32 ``(P, H)``, see ``Packing``; matrix products are in ``dtype``. Gives
    ``(B, 1, H)``, the first token of each row, which is all that a classification head reads; or ``(B, L, H)`` where
    the hidden states of all layers are asked for, which are then in ``hidden_states``.
    """

    def __init__(self, model: PreTrainedModel, encoder: nn.Module, dtype: torch.dtype) -> None:
        self._read, self._layers, self._dtype = BLOCKS[model.config.model_type][1], encoder.layer, dtype
        self._mask: Tensor | None = None
        self._all = False
        self.hidden_states: tuple[Tensor, ...] = ()

    def before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Keep the base model's mask: it would make one of ``(B, 1, L, L)`` of it, which nobody needs."""
        self._mask = kwargs["attention_mask"]
        self._all = bool(kwargs.get("output_hidden_states"))
        return args, {**kwargs, "attention_mask": None}

    def after(self, _: nn.Module, __: Any, output: Any) -> Any:
        if self._all:
            output.hidden_states, self.hidden_states = self.hidden_states, ()
        return output

    def __call__(self, hidden_states: Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        assert self._mask is not None
        packing = Packing.of(self._mask)
        with torch.autocast(hidden_states.device.type, enabled=False):
            states = self._through(hidden_states.float(), packing)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states)

    def _through(self, padded: Tensor, packing: Packing) -> Tensor:
        blocks = [self._read(layer) for layer in self._layers]
        bias = packing.bias(blocks[0].heads, self._dtype)
        states = packing.pack(padded)
        if not self._all:
            for block in blocks[:-1]:
                states = self._layer(block, states, packing, bias)
            return self._last(blocks[-1], states, packing, bias).unsqueeze(1)
        every = [padded]
        for block in blocks:
            states = self._layer(block, states, packing, bias)
            every.append(packing.unpack(states, padded.shape[1]))
        self.hidden_states = tuple(every)
        return every[-1]

    def _layer(self, block: Block, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        scale = _scale(block)
        together = _linear(states.to(self._dtype), block.query, block.key, block.value, scale=scale)
        heads = packing.to_heads(together, 3, block.heads)
        attended = packing.from_heads(_Attention.apply(*heads, bias, block.dropouts[0]), block.heads)
        return self._finish(block, states, attended)

    def _last(self, block: Block, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        """The same layer, for the first token of each row: ``(B, H)``. The others are looked at, and not updated."""
        first = states.index_select(0, packing.first)
        query = _linear(first.to(self._dtype), block.query, scale=_scale(block))
        heads = packing.to_heads(_linear(states.to(self._dtype), block.key, block.value), 2, block.heads)
        query = query.view(packing.batch * block.heads, 1, -1)
        attended = _Attention.apply(query, *heads, None if bias is None else bias[:, :1], block.dropouts[0])
        return self._finish(block, first, attended.view(packing.batch, -1))

    def _finish(self, block: Block, states: Tensor, attended: Tensor) -> Tensor:
        states = block.mixed_norm(_add(states, _linear(attended, block.mix), block.dropouts[1]))
        wide = block.activation(_linear(states.to(self._dtype), block.widen))
        return block.norm(_add(states, _linear(wide, block.narrow), block.dropouts[2]))


def _scale(block: Block) -> float:
    return 1 / math.sqrt(block.query.out_features // block.heads)


@contextmanager
def packed_encoder(model: PreTrainedModel, device: torch.device, dtype: torch.dtype, *, left: bool) -> Iterator[None]:
    """Inside, the model's encoder is a ``PackedEncoder``, where that is known to give the same: see ``fits``.

    ``left``: padding comes before the text.
    """
    if left or device.type != "cpu" or not fits(model):
        yield
        return
    base = model.base_model
    encoder = base.get_submodule(BLOCKS[model.config.model_type][0])
    packed = PackedEncoder(model, encoder, dtype)
    hooks = [base.register_forward_pre_hook(packed.before, with_kwargs=True), base.register_forward_hook(packed.after)]
    encoder.forward = packed
    try:
        yield
    finally:
        del encoder.forward
        for hook in hooks:
            hook.remove()


def fits(model: PreTrainedModel) -> bool:
    """Layers of a known build, and a head that reads the first token alone."""
    config = model.config
    plain = not (getattr(config, "is_decoder", False) or getattr(config, "output_hidden_states", False))
    return plain and config.model_type in BLOCKS and type(model).__name__.endswith("ForSequenceClassification")
