"""Softmax attention with dropout, each step in the kernel that is fastest for it on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.training.cpu.dropout import dropout_mask


class Workspace:
    """Two float32 tensors of any size, in memory of their own: getting it anew costs more than using it.

    What they hold is good until the next is asked for.
    """

    def __init__(self) -> None:
        self._memory = (torch.empty(0), torch.empty(0))

    def like(self, states: Tensor) -> tuple[Tensor, Tensor]:
        if len(self._memory[0]) < states.numel():
            self._memory = (torch.empty(states.numel()), torch.empty(states.numel()))
        one, other = (memory[: states.numel()].view_as(states) for memory in self._memory)
        return one, other


class Attention(torch.autograd.Function):
    """``query`` ``(N, Q, D)`` is scaled already; ``key`` and ``value`` ``(N, K, D)``; ``bias`` ``(N, Q, K)`` or None;
    then the rate of dropout, and a ``Workspace``.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        query, key, value, bias, p, scratch = inputs
        turned = key.transpose(1, 2)
        scores = torch.bmm(query, turned) if bias is None else torch.baddbmm(bias, query, turned)
        # Torch's bf16 softmax is slower than the one in float32 and two casts, and rounds more.
        wide, _ = scratch.like(scores)
        shares = scores.copy_(torch.softmax(wide.copy_(scores), -1, out=wide))
        mask = dropout_mask(shares.shape, p, shares.dtype) if p else None
        weights = shares if mask is None else shares * mask
        ctx.save_for_backward(query, key, value, shares, mask, weights)
        ctx.scratch = scratch
        return torch.bmm(weights, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, shares, mask, weights = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_scores = torch.bmm(gradient, value.transpose(1, 2))
        if mask is not None:
            of_scores.mul_(mask)
        wide, wide_shares = ctx.scratch.like(shares)
        wide.copy_(of_scores)
        torch._softmax_backward_data(wide, wide_shares.copy_(shares), -1, torch.float32, grad_input=wide)
        of_scores.copy_(wide)
        of_key = torch.bmm(of_scores.transpose(1, 2), query)
        return torch.bmm(of_scores, key), of_key, torch.bmm(weights.transpose(1, 2), gradient), None, None, None
