"""An encoder that computes what its answer depends on, and no more: no padding, and of the last layer one token a row.

On a CPU most of a step is matrix products, whose speed is the machine's: what is left to save is not to ask for them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        query, key, value, bias, p = inputs
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


class _Cast(torch.autograd.Function):
    """Weights in another dtype, all of a model in one go: a hundred small nodes of the graph cost more than the casts.

    ``groups`` says how many of ``parts`` are put below one another in each result; the first of each is multiplied by
    the group's number in ``scales``.
    """

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, groups: list[int], scales: list[float], *parts: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.groups, ctx.scales = groups, scales
        ctx.sizes, ctx.dtypes = [len(part) for part in parts], [part.dtype for part in parts]
        left, joined = iter(parts), []
        for count, scale in zip(groups, scales, strict=True):
            first, *others = itertools.islice(left, count)
            together = first.new_empty(sum(map(len, (first, *others))), *first.shape[1:], dtype=dtype)
            places = together.split([len(part) for part in (first, *others)])
            places[0].copy_(first if scale == 1 else first * scale)
            for place, part in zip(places[1:], others, strict=True):
                place.copy_(part)
            joined.append(together)
        return tuple(joined)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        sizes, dtypes, found = iter(ctx.sizes), iter(ctx.dtypes), []
        for gradient, count, scale in zip(gradients, ctx.groups, ctx.scales, strict=True):
            parts = gradient.split(list(itertools.islice(sizes, count)))
            whole = [part.to(dtype, copy=True) for part, dtype in zip(parts, dtypes, strict=False)]
            if scale != 1:
                whole[0].mul_(scale)
            found += whole
        return None, None, None, *found


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


Linear = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Weights:
    """Of a block, ready for use: (weight, bias) of each matrix product that it takes. Queries come out scaled.

    ``looks`` is of query, key and value in one; or of the query, and of key and value, where few tokens have a query.
    """

    looks: list[Linear]
    mix: Linear
    widen: Linear
    narrow: Linear


def _cast(blocks: list[Block], dtype: torch.dtype, *, every_query: bool) -> list[_Weights]:
    """The weights of all blocks; of the last one, query apart from key and value unless it has ``every_query``."""
    plan = [_products(block, together=every_query or block is not blocks[-1]) for block in blocks]
    groups = [group for products in plan for group in products]
    layers = [layer for _, group in groups for layer in group]
    counts, scales = [len(group) for _, group in groups], [scale for scale, _ in groups]
    weights = _Cast.apply(dtype, counts, scales, *(layer.weight for layer in layers))
    biases = _Cast.apply(dtype, counts, scales, *(layer.bias for layer in layers))
    ready, found = zip(weights, biases, strict=True), []
    for products in plan:
        *looks, mix, widen, narrow = itertools.islice(ready, len(products))
        found.append(_Weights(looks, mix, widen, narrow))
    return found


def _products(block: Block, *, together: bool) -> list[tuple[float, tuple[nn.Linear, ...]]]:
    """(scale of the first, layers computed as one) of each matrix product of a block."""
    scale = 1 / math.sqrt(block.query.out_features // block.heads)
    looks = [(scale, (block.query, block.key, block.value))]
    apart = [(scale, (block.query,)), (1.0, (block.key, block.value))]
    return [*(looks if together else apart), *((1.0, (layer,)) for layer in (block.mix, block.widen, block.narrow))]


def _add(base: Tensor, states: Tensor, p: float) -> Tensor:
    return _AddDropped.apply(base, states, dropout_mask(states.shape, p, torch.float32)) if p else base + states


class PackedEncoder:
    """Takes the place of an encoder's ``forward`` while it is trained.

    Between layers, states are float32 ``(P, H)``, see ``Packing``; matrix products are in ``dtype``. Gives
    ``(B, 1, H)``, the first token of each row, which is all that a classification head reads. Where the hidden states
    of all layers are asked for, they are ``(P, H)`` as well: ``real_tokens`` reads them. A ``frozen`` model's weights
    are cast once.
    """

    def __init__(self, model: PreTrainedModel, encoder: nn.Module, dtype: torch.dtype, *, frozen: bool) -> None:
        self._read, self._layers, self._dtype = BLOCKS[model.config.model_type][1], encoder.layer, dtype
        self._frozen = frozen
        self._ready: list[_Weights] = []
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
        every = [packing.pack(padded)]
        for block, ready in zip(blocks, self._weights(blocks), strict=True):
            if len(ready.looks) > 1:
                return self._last(block, ready, every[-1], packing, bias).unsqueeze(1)
            every.append(self._layer(block, ready, every[-1], packing, bias))
        self.hidden_states = tuple(every)
        return every[-1].index_select(0, packing.first).unsqueeze(1)

    def _weights(self, blocks: list[Block]) -> list[_Weights]:
        if self._ready:
            return self._ready
        ready = _cast(blocks, self._dtype, every_query=self._all)
        self._ready = ready if self._frozen else []
        return ready

    def _layer(self, block: Block, ready: _Weights, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        heads = packing.to_heads(F.linear(states.to(self._dtype), *ready.looks[0]), 3, block.heads)
        attended = packing.from_heads(_Attention.apply(*heads, bias, block.dropouts[0]), block.heads)
        return self._finish(block, ready, states, attended)

    def _last(self, block: Block, ready: _Weights, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        """The same layer, for the first token of each row: ``(B, H)``. The others are looked at, and not updated."""
        first = states.index_select(0, packing.first)
        query, others = ready.looks
        heads = packing.to_heads(F.linear(states.to(self._dtype), *others), 2, block.heads)
        own = F.linear(first.to(self._dtype), *query).view(packing.batch * block.heads, 1, -1)
        attended = _Attention.apply(own, *heads, None if bias is None else bias[:, :1], block.dropouts[0])
        return self._finish(block, ready, first, attended.view(packing.batch, -1))

    def _finish(self, block: Block, ready: _Weights, states: Tensor, attended: Tensor) -> Tensor:
        states = block.mixed_norm(_add(states, F.linear(attended, *ready.mix), block.dropouts[1]))
        wide = block.activation(F.linear(states.to(self._dtype), *ready.widen))
        return block.norm(_add(states, F.linear(wide, *ready.narrow), block.dropouts[2]))


@contextmanager
def packed_encoder(
    model: PreTrainedModel, device: torch.device, dtype: torch.dtype, *, left: bool, frozen: bool = False
) -> Iterator[None]:
    """Inside, the model's encoder is a ``PackedEncoder``, where that is known to give the same: see ``fits``.

    ``left``: padding comes before the text. ``frozen``: the weights do not change, and all calls ask for the same.
    """
    if left or device.type != "cpu" or not fits(model):
        yield
        return
    base = model.base_model
    encoder = base.get_submodule(BLOCKS[model.config.model_type][0])
    packed = PackedEncoder(model, encoder, dtype, frozen=frozen)
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
