"""What mends a pruned model, and the numbers that "auto" becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api_schemas.architectures import ModelFacts
from api_schemas.request_parts import Auto, Request

Method = Literal["none", "finetune", "distill"]
Precision = Literal["fp32", "bf16", "fp16"]
CheckpointChoice = Literal["last", "best"]


class RecoverySpec(Request):
    """Every value may be "auto"; what it became is in ``resolved.recovery``."""

    method: Method | Auto = Field(default="auto", description="auto: `distill`, or `none` where the task is `none`")
    epochs: Annotated[float, Field(gt=0, le=1000)] | Auto = "auto"
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Auto = Field(
        default="auto", description="auto: 32; `distill` halves it, down to 8, where the data makes less than 700 steps"
    )
    max_length: Annotated[int, Field(ge=4, le=32768)] | Auto = Field(default="auto", description="tokens")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    precision: Precision | Auto = Field(default="auto", description="auto: bf16 where the device has it, else fp32")
    temperature: Annotated[float, Field(gt=0, le=1000)] | Auto = Field(default="auto", description="of `distill`")
    label_weight: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        default="auto", description="of `distill`: share of the logits' loss that comes from the gold labels"
    )
    hidden_weight: Annotated[float, Field(ge=0, le=1e6)] | Auto = Field(
        default="auto", description="of `distill`: weight of the hidden states' loss at each gap, beside the logits' 1"
    )
    noise: Annotated[float, Field(ge=0, lt=1)] | Auto = Field(
        default="auto",
        description="of `distill`: share of the tokens that others of the data replace; the baseline answers that",
    )
    checkpoint: CheckpointChoice | Auto = Field(
        default="auto",
        description="which weights are kept. best: of the epoch that a tenth of the training rows (at most 1000), not "
        "learnt from, judge best; auto: last",
    )
    dropout: bool | Auto = Field(
        default="auto", description="whether the model's own dropout is on; auto: in `finetune`, not in `distill`"
    )
    baseline_epochs: Annotated[float, Field(gt=0, le=1000)] | Auto = Field(
        default="auto", description="of the full model that all is measured by; auto: as many as `epochs`"
    )
    baseline_batch_size: Annotated[int, Field(ge=1, le=4096)] | Auto = Field(
        default="auto", description="auto: `batch_size` where that is given, else 32"
    )
    baseline_learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = Field(
        default="auto", description="auto: by the model's width in `distill`; that of the recovery in `finetune`"
    )


class Recovery(BaseModel):
    """A recovery with nothing left open, but what the data decides (the batch), and the device (the precision)."""

    method: Method
    epochs: float
    learning_rate: float
    batch_size: int | Auto
    max_length: int
    warmup_ratio: float
    weight_decay: float
    precision: Precision | Auto
    temperature: float
    label_weight: float
    hidden_weight: float
    noise: float
    checkpoint: CheckpointChoice
    dropout: bool
    baseline_epochs: float
    baseline_batch_size: int
    baseline_learning_rate: float

    def of_baseline(self) -> Recovery:
        """How the full model is fine-tuned: with its own epochs, batch and rate; a teacher has learnt with dropout."""
        own = {
            "epochs": self.baseline_epochs,
            "batch_size": self.baseline_batch_size,
            "learning_rate": self.baseline_learning_rate,
        }
        return self.model_copy(update={**own, "dropout": self.dropout or self.method == "distill"})

    def batch_of(self, rows: int) -> int:
        """Examples of an optimizer step, where there are ``rows`` to learn from."""
        if self.batch_size != "auto":
            return self.batch_size
        halved = BATCH
        while halved > SMALLEST_BATCH and rows * self.epochs / halved < ENOUGH_STEPS:
            halved //= 2
        return halved


#: The paper's.
BATCH = 32
#: Of `distill`: its gradients have little noise, so that small data is better used in more and smaller steps.
SMALLEST_BATCH, ENOUGH_STEPS = 8, 700
#: Of `distill`: what the hidden states' error at each gap weighs beside the logits' (docs/lab/recovery.md).
HIDDEN_WEIGHT = 3.0
#: Of `distill`: a pruned model has more to make up for than a head has to learn, and noise holds it.
FASTER = 1.5
#: Of `distill`: share of the tokens that are replaced.
NOISE = 0.15


def protocol_rate(hidden_size: int, layers: int) -> float:
    """The paper's 2e-5 is for BERT-base, 768 wide and 12 layers deep; narrower and shallower models want more.

    By the width's square and the depth, as measured on 384 (docs/lab/recovery.md).
    """
    return float(f"{min(3e-4, max(1e-5, 2e-5 * (768 / hidden_size) ** 2 * 12 / layers)):.2g}")


def resolve_recovery(spec: RecoverySpec, model: ModelFacts, *, trains: bool) -> Recovery:
    """Fill in every "auto". ``trains``: whether the job has a task to learn from.

    Epochs, batch size, length, no warm-up and no weight decay are the paper's protocol. What `distill` does otherwise
    was chosen on slices of training sets: docs/lab/recovery.md.
    """
    asked = {name: value for name, value in spec.model_dump().items() if value != "auto"}
    method = asked.get("method", "distill" if trains else "none")
    rate = protocol_rate(model.hidden_size, model.layers)
    defaults = {
        "method": method,
        "epochs": 3.0,
        "learning_rate": float(f"{FASTER * rate:.2g}") if method == "distill" else rate,
        "batch_size": "auto" if method == "distill" else BATCH,
        "max_length": min(128, model.max_positions) if model.max_positions else 128,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "precision": "auto",
        "temperature": 2.0,
        "label_weight": 0.0,
        "hidden_weight": HIDDEN_WEIGHT,
        "noise": NOISE,
        "checkpoint": "last",
        "dropout": method != "distill",
        "baseline_epochs": asked.get("epochs", 3.0),
        "baseline_batch_size": asked.get("batch_size", BATCH),
        # A fine-tuned model is compared with its equal; distillations at several rates share their baseline.
        "baseline_learning_rate": rate if method == "distill" else asked.get("learning_rate", rate),
    }
    return Recovery.model_validate({**defaults, **asked})
