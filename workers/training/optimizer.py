"""From a loss to new weights: gradients, clipping, AdamW, linear decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from api_schemas.recovery import Precision, Recovery
from workers.training.compact_embedding import CompactEmbedding, WholeEmbedding

MAX_GRADIENT_NORM = 1.0


class Stepper:
    """AdamW over every weight that wants a gradient; biases and norms are not decayed, as usual."""

    def __init__(
        self,
        model: nn.Module,
        embedding: CompactEmbedding | WholeEmbedding,
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

    def backward(self, loss: Tensor) -> Tensor:
        """Add the gradients of ``loss``; the loss, without its graph."""
        self._scaler.scale(loss).backward()
        return loss.detach()

    def clip(self) -> Tensor:
        """Have the step cut the gradients to size; their norm, uncut."""
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.get_total_norm([weight.grad for weight in self._weights if weight.grad is not None])
        # The fused AdamW divides by it as it reads them: a pass over all gradients less than clip_grad_norm_.
        self._optimizer.grad_scale = (norm / MAX_GRADIENT_NORM).clamp(min=1.0)  # type: ignore[attr-defined]
        return norm

    def step(self) -> None:
        decayed = self._optimizer.param_groups[0]
        self._embedding.decay *= 1 - decayed["lr"] * decayed["weight_decay"]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self.clear()

    def clear(self) -> None:
        """Forget the gradients."""
        self._embedding.clear()
        for weight in self._weights:
            if weight is not self._embedding.weight:
                weight.grad = None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next step depends on beside the weights: tensors, and JSON."""
        optimizer = self._optimizer.state_dict()
        tensors = {f"{at}.{name}": value for at, row in optimizer["state"].items() for name, value in row.items()}
        schedule = {name: value for name, value in self._schedule.state_dict().items() if name != "lr_lambdas"}
        return tensors, {
            "groups": optimizer["param_groups"],
            "schedule": schedule,
            "scaler": self._scaler.state_dict(),
            "decay": self._embedding.decay,
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Be as the stepper was whose ``state`` this is."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            at, name = key.split(".")
            state.setdefault(int(at), {})[name] = value
        groups = [{**group, "betas": tuple(group["betas"])} for group in facts["groups"]]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._schedule.load_state_dict({**facts["schedule"], "lr_lambdas": [None] * len(groups)})
        self._scaler.load_state_dict(facts["scaler"])
        self._embedding.decay = facts["decay"]


def _linear(total: int, warmup_ratio: float) -> Callable[[int], float]:
    """From 0 to 1 over the warm-up, then to 0."""
    warm = round(total * warmup_ratio)
    return lambda done: (done + 1) / (warm + 1) if done < warm else (total - done) / max(1, total - warm)
