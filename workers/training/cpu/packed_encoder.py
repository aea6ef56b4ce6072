"""An encoder that computes what its answer depends on, and no more: no padding, and of the last layer one token a row
where a head reads no other.

On a CPU most of a step is matrix products, whose speed is the machine's: what is left to save is not to ask for them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from workers.training.cpu.attention_kernel import Attention, Workspace
from workers.training.cpu.blocks import BLOCKS, Block, encoder_of
from workers.training.cpu.cast_weights import CastWeights, Linear, Product
from workers.training.cpu.dropout import dropout_mask
from workers.training.cpu.packing import Packing


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


@dataclass(frozen=True)
class _Weights:
    """Of a block, ready for use: (weight, bias) of each matrix product that it takes. Queries come out scaled.

    ``looks`` is of query, key and value in one; or of the query, and of key and value, where few tokens have a query.
    """

    looks: list[Linear]
    mix: Linear
    widen: Linear
    narrow: Linear


class _Ready:
    """The weights of all blocks; of the last one, query apart from key and value unless it has ``every_query``."""

    def __init__(self, blocks: list[Block], dtype: torch.dtype, *, every_query: bool) -> None:
        self._plan = [_products(block, together=every_query or block is not blocks[-1]) for block in blocks]
        self._cast = CastWeights([product for products in self._plan for product in products], dtype)

    def __call__(self) -> list[_Weights]:
        ready, found = iter(self._cast()), []
        for products in self._plan:
            *looks, mix, widen, narrow = itertools.islice(ready, len(products))
            found.append(_Weights(looks, mix, widen, narrow))
        return found


def _products(block: Block, *, together: bool) -> list[Product]:
    scale = 1 / math.sqrt(block.query.out_features // block.heads)
    looks = [Product(scale, (block.query, block.key, block.value))]
    apart = [Product(scale, (block.query,)), Product(1.0, (block.key, block.value))]
    return [
        *(looks if together else apart),
        *(Product(1.0, (layer,)) for layer in (block.mix, block.widen, block.narrow)),
    ]


def _add(base: Tensor, states: Tensor, p: float) -> Tensor:
    if not p:
        return base + states
    added: Tensor = _AddDropped.apply(  # type: ignore[no-untyped-call]
        base, states, dropout_mask(states.shape, p, torch.float32)
    )
    return added


class PackedEncoder:
    """Takes the place of an encoder's ``forward`` while it is trained.

    Between layers, states are float32 ``(P, H)``, see ``Packing``; matrix products are in ``dtype``. Gives
    ``(B, 1, H)``, the first token of each row, to a head that reads no other, and else ``(B, L, H)`` with zeros for
    padding. Where the hidden states of all layers are asked for, they are ``(P, H)``: ``real_tokens`` reads them. A
    ``frozen`` model's weights are cast once.
    """

    def __init__(self, model: PreTrainedModel, encoder: nn.Module, dtype: torch.dtype, *, frozen: bool) -> None:
        layers = encoder.layer
        assert isinstance(layers, nn.ModuleList)
        self._read, self._layers, self._dtype = BLOCKS[model.config.model_type][1], layers, dtype
        self._frozen, self._first = frozen, tokens_read(model) == "first"
        self._casts: dict[bool, _Ready] = {}
        self._standing: list[_Weights] = []
        self._scratch = Workspace()
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
        if self._all:
            self.hidden_states = tuple(every)
        if self._first:
            return every[-1].index_select(0, packing.first).unsqueeze(1)
        return packing.unpack(every[-1], padded.shape[1])

    def _weights(self, blocks: list[Block]) -> list[_Weights]:
        if self._standing:
            return self._standing
        every_query = self._all or not self._first
        if every_query not in self._casts:
            self._casts[every_query] = _Ready(blocks, self._dtype, every_query=every_query)
        weights = self._casts[every_query]()
        if self._frozen:
            self._standing = weights
        return weights

    def _layer(self, block: Block, ready: _Weights, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        heads = packing.to_heads(F.linear(states.to(self._dtype), *ready.looks[0]), 3, block.heads)
        attended = self._attend(*heads, bias, block.dropouts[0])
        return self._finish(block, ready, states, packing.from_heads(attended, block.heads))

    def _last(self, block: Block, ready: _Weights, states: Tensor, packing: Packing, bias: Tensor | None) -> Tensor:
        """The same layer, for the first token of each row: ``(B, H)``. The others are looked at, and not updated."""
        first = states.index_select(0, packing.first)
        query, others = ready.looks
        heads = packing.to_heads(F.linear(states.to(self._dtype), *others), 2, block.heads)
        own = F.linear(first.to(self._dtype), *query).view(packing.batch * block.heads, 1, -1)
        seen = None if bias is None else bias[:, :1]
        attended = self._attend(own, *heads, seen, block.dropouts[0])
        return self._finish(block, ready, first, attended.view(packing.batch, -1))

    def _attend(self, *inputs: Any) -> Tensor:
        attended: Tensor = Attention.apply(*inputs, self._scratch)  # type: ignore[no-untyped-call]
        return attended

    def _finish(self, block: Block, ready: _Weights, states: Tensor, attended: Tensor) -> Tensor:
        states = block.mixed_norm(_add(states, F.linear(attended, *ready.mix), block.dropouts[1]))
        wide = block.activation(F.linear(states.to(self._dtype), *ready.widen))
        finished: Tensor = block.norm(_add(states, F.linear(wide, *ready.narrow), block.dropouts[2]))
        return finished


@contextmanager
def packed_encoder(model: PreTrainedModel, dtype: torch.dtype, *, frozen: bool = False) -> Iterator[None]:
    """Inside, the encoder of a model that ``fits`` is a ``PackedEncoder``; padding must come after the text.

    ``frozen``: the weights do not change, and all calls ask for the same.
    """
    base, encoder = model.base_model, encoder_of(model)
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
    """Layers of a known build, in float32, and nothing after them but what ``tokens_read`` knows."""
    config = model.config
    plain = not (getattr(config, "is_decoder", False) or getattr(config, "output_hidden_states", False))
    known = config.model_type in BLOCKS and model.dtype == torch.float32
    return plain and known and tokens_read(model) is not None


def tokens_read(model: PreTrainedModel) -> Literal["first", "all"] | None:
    """Of the encoder's answer, by a head or, where there is none, by whoever pools; None of a head that is not known.

    Who reads all of them goes by the mask: there are zeros for padding.
    """
    if model.base_model is model or type(model).__name__.endswith("ForTokenClassification"):
        return "all"
    return "first" if type(model).__name__.endswith("ForSequenceClassification") else None
