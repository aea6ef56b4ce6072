"""What mends a pruned model, and the numbers that "auto" becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.architectures import ModelFacts

Auto = Literal["auto"]
Method = Literal["none", "finetune", "distill"]
Precision = Literal["fp32", "bf16", "fp16"]


class RecoverySpec(BaseModel):
    """Every value may be "auto"; what it became is in ``resolved.recovery``."""

    model_config = ConfigDict(extra="forbid")

    method: Method | Auto = Field(default="auto", description="auto: `distill`, or `none` where the task is `none`")
    epochs: Annotated[float, Field(gt=0, le=1000)] | Auto = "auto"
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Auto = "auto"
    max_length: Annotated[int, Field(ge=4, le=32768)] | Auto = Field(default="auto", description="tokens")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    precision: Precision | Auto = Field(default="auto", description="auto: bf16 where the device has it, else fp32")
    temperature: Annotated[float, Field(gt=0)] | Auto = Field(default="auto", description="of `distill`")
    label_weight: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        default="auto", description="of `distill`: share of the loss that comes from the gold labels"
    )


class Recovery(BaseModel):
    """A recovery with nothing left open, but the precision: the device decides that."""

    method: Method
    epochs: float
    learning_rate: float
    batch_size: int
    max_length: int
    warmup_ratio: float
    weight_decay: float
    precision: Precision | Auto
    temperature: float
    label_weight: float


def resolve_recovery(spec: RecoverySpec, model: ModelFacts, *, trains: bool) -> Recovery:
    """Fill in every "auto". ``trains``: whether the job has a task to learn from.

    Epochs, batch size, length, no warm-up and no weight decay are the paper's protocol. Its learning rate, 2e-5, is
    for a width of 768; narrower models want more (docs/recovery.md), so it scales with the cube of the width.
    """
    scale = (768 / model.hidden_size) ** 3
    longest = min(128, model.max_positions) if model.max_positions else 128
    defaults = {
        "method": "distill" if trains else "none",
        "epochs": 3.0,
        "learning_rate": float(f"{min(3e-4, max(1e-5, 2e-5 * scale)):.2g}"),
        "batch_size": 32,
        "max_length": longest,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "temperature": 2.0,
        "label_weight": 0.0,
    }
    asked = {name: value for name, value in spec.model_dump().items() if value != "auto" or name not in defaults}
    return Recovery.model_validate({**defaults, **asked})
