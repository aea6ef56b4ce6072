"""From a loss to new weights: gradients, clipping, AdamW, linear decay."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from api_schemas.recovery import Precision, Recovery
from workers.training.vocabulary import CompactEmbedding

MAX_GRADIENT_NORM = 1.0


class Stepper:
    """AdamW over every weight that wants a gradient; biases and norms are not decayed, as usual."""

    def __init__(
        self,
        model: nn.Module,
        embedding: CompactEmbedding,
        recovery: Recovery,
        *,
        total: int,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._embedding = embedding
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in self._weights if w.ndim > 1], "weight_decay": recovery.weight_decay},
            {"params": [w for w in self._weights if w.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=recovery.learning_rate, eps=1e-8, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, _linear(total, recovery.warmup_ratio))
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def step(self, loss: Tensor) -> None:
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        decayed = self._optimizer.param_groups[0]
        self._embedding.decay *= 1 - decayed["lr"] * decayed["weight_decay"]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self._embedding.clear()
        for weight in self._weights:
            if weight is not self._embedding.weight:
                weight.grad = None


def _linear(total: int, warmup_ratio: float) -> Callable[[int], float]:
    """From 0 to 1 over the warm-up, then to 0."""
    warm = round(total * warmup_ratio)
    return lambda done: (done + 1) / (warm + 1) if done < warm else (total - done) / max(1, total - warm)
