"""What mends a pruned model, and the numbers that "auto" becomes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import JobRef
from api_schemas.names import NameOf
from api_schemas.request_parts import Auto, OrText, Request
from api_schemas.shares import Share
from api_schemas.task_kinds import Effort, TaskKind
from api_schemas.text_spec import TextSpec

Method = Literal["none", "finetune", "distill"]
Precision = Literal["fp32", "bf16", "fp16"]
CheckpointChoice = Literal["last", "best"]
VectorLoss = Literal["cosine", "squared"]


class RecoverySpec(Request):
    """Every value may be "auto"; what it became is in ``resolved.recovery``. In a request, a plain string is the
    method.
    """

    # `from` is a word of Python's; nobody but Python calls it otherwise.
    model_config = ConfigDict(serialize_by_alias=True)

    method: Method | Auto = Field(default="auto", description="auto: `distill`, or `none` where the task is `none`")
    effort: Effort | Auto = Field(
        default="auto",
        description="of `distill`: how much it may cost, in one word: what each means for the task's kind is in"
        " GET /v1/tasks, and a value that is given goes before it; auto: standard",
    )
    from_: JobRef | None = Field(
        default=None,
        alias="from",
        description="`job:<id>`: start from what that job delivered of the same model, and not from the model itself;"
        " layers are numbered in the original model all the same",
    )
    text: TextSpec | None = Field(
        default=None, description="of `distill`: more text to learn from, without labels; the baseline answers it"
    )
    epochs: Annotated[float, Field(gt=0, le=1000)] | Auto = Field(
        default="auto", description="how often the training rows are seen"
    )
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = Field(default="auto", description="at its highest")
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Auto = Field(
        default="auto",
        description="auto: 32; halved, down to 8, where the data makes less than 700 steps, in `distill` and for label "
        "sets and tags",
    )
    max_length: Annotated[int, Field(ge=4, le=32768)] | Auto = Field(default="auto", description="tokens")
    warmup_ratio: Annotated[float, Share(zero=True)] | Auto = Field(
        default="auto", description="share of the steps in which the rate rises"
    )
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | Auto = Field(default="auto", description="of AdamW")
    precision: Precision | Auto = Field(default="auto", description="auto: bf16 where the device has it, else fp32")
    temperature: Annotated[float, Field(gt=0, le=1000)] | Auto = Field(default="auto", description="of `distill`")
    label_weight: Annotated[float, Share(zero=True, one=True, bare=False)] | Auto = Field(
        default="auto", description="of `distill`: share of the logits' loss that comes from the gold labels"
    )
    hidden_weight: Annotated[float, Field(ge=0, le=1e6)] | Auto = Field(
        default="auto", description="of `distill`: weight of the hidden states' loss at each gap, beside the logits' 1"
    )
    noise: Annotated[float, Share(zero=True)] | Auto = Field(
        default="auto",
        description="of `distill`: share of the tokens that others of the data replace; the baseline answers that",
    )
    vector_loss: VectorLoss | Auto = Field(
        default="auto", description="of an embedding: how far its vector is from the source's"
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
        default="auto",
        description="auto: `batch_size` where that is given, else 32; halved as that is for label sets and tags",
    )
    baseline_learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = Field(
        default="auto", description="auto: by the model's width in `distill`; that of the recovery in `finetune`"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


#: As a request has it.
AskedRecovery = Annotated[RecoverySpec, OrText(NameOf("RecoveryMethodName", (*get_args(Method), "auto")))]


class Recovery(BaseModel):
    """A recovery with nothing left open, but what the data decides (the batch), and the device (the precision)."""

    method: Method = Field(description="what mends the model")
    effort: Effort = Field(default="standard", description="what it may cost, in one word")
    text: TextSpec | None = Field(default=None, description="more text to learn from, without labels")
    epochs: float = Field(description="how often the training rows are seen")
    learning_rate: float = Field(description="at its highest")
    batch_size: int | Auto = Field(description="examples of one step")
    max_length: int = Field(description="tokens of a text; longer ones are cut")
    warmup_ratio: float = Field(description="share of the steps in which the rate rises")
    weight_decay: float = Field(description="of AdamW")
    precision: Precision | Auto = Field(description="what is computed in")
    temperature: float = Field(description="of the softened answers")
    label_weight: float = Field(description="of the loss by labels, 0 to 1")
    hidden_weight: float = Field(description="of the loss by hidden states")
    noise: float = Field(description="share of tokens that are replaced by others")
    vector_loss: VectorLoss = Field(default="cosine", description="how vectors are compared, of an embedding")
    checkpoint: CheckpointChoice = Field(
        description="which state of the training is taken: the last, or the best on a held-out slice"
    )
    dropout: bool = Field(description="whether the model's own is on in training")
    baseline_epochs: float = Field(description="of the full model")
    baseline_batch_size: int | Auto = Field(description="of the full model")
    baseline_learning_rate: float = Field(description="of the full model")

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

    def steps_of(self, rows: int) -> int:
        """Optimizer steps of a training on ``rows`` examples; a broken epoch is rounded up to a whole step."""
        return max(1, math.ceil(math.ceil(rows / self.batch_of(rows)) * self.epochs))


#: The paper's.
EPOCHS, BATCH, LENGTH = 3.0, 32, 128
#: Of vectors: what the source reads of a text is what has to be learnt. A worker takes its max_seq_length, if less.
VECTOR_LENGTH = 512
#: Of `distill`: its gradients have little noise, so that small data is better used in more and smaller steps. Of kinds
#: with ``small_batches`` too, whatever is learnt.
SMALLEST_BATCH, ENOUGH_STEPS = 8, 700
#: Of `distill`: what the hidden states' error at each gap weighs beside the logits' (docs/lab/recovery.md).
HIDDEN_WEIGHT = 3.0
#: Of `distill`: share of the tokens that are replaced.
NOISE = 0.15


def protocol_rate(hidden_size: int, layers: int) -> float:
    """The paper's 2e-5 is for BERT-base, 768 wide and 12 layers deep; narrower and shallower models want more.

    By the width's square and the depth, as measured on 384 (docs/lab/recovery.md).
    """
    return float(f"{min(3e-4, max(1e-5, 2e-5 * (768 / hidden_size) ** 2 * 12 / layers)):.2g}")


def resolve_recovery(spec: RecoverySpec, model: ModelFacts, *, kind: TaskKind | None) -> Recovery:
    """Fill in every "auto". ``kind``: of the task that the job learns; None where there is none.

    Epochs, batch size, length, no warm-up and no weight decay are the paper's protocol. What `distill` does otherwise
    was chosen on slices of training sets: docs/lab/recovery.md. What the kind's row says goes before these, what its
    effort says before that, and what is asked for before all.
    """
    asked = {name: value for name, value in spec.model_dump().items() if value != "auto" and name != "from"}
    method = asked.get("method", "distill" if kind else "none")
    by_kind = _by_kind(spec, kind)
    rate = protocol_rate(model.hidden_size, model.layers)
    faster = kind.faster if kind else 1.0
    of_labels = "auto" if kind and kind.small_batches else BATCH
    longest = VECTOR_LENGTH if kind and kind.teacher == "source" else LENGTH
    defaults = {
        "method": method,
        "learning_rate": float(f"{faster * rate:.2g}") if method == "distill" else rate,
        "batch_size": "auto" if method == "distill" else of_labels,
        "max_length": min(longest, model.max_positions or longest),
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "precision": "auto",
        "temperature": 2.0,
        "label_weight": 0.0,
        "hidden_weight": HIDDEN_WEIGHT,
        "noise": NOISE,
        "vector_loss": "cosine",
        "checkpoint": "last",
        "dropout": method != "distill",
        "baseline_batch_size": asked.get("batch_size", of_labels),
        # A fine-tuned model is compared with its equal; distillations at several rates share their baseline.
        "baseline_learning_rate": rate if method == "distill" else asked.get("learning_rate", rate),
    }
    return Recovery.model_validate({**defaults, **by_kind, **epochs_of(spec, kind), **asked})


def epochs_of(spec: RecoverySpec, kind: TaskKind | None) -> dict[str, float]:
    """``epochs`` and ``baseline_epochs`` of what ``resolve_recovery`` makes, which no model decides. Epochs that are
    given are the baseline's too, whatever the effort.
    """
    by_kind = _by_kind(spec, kind)
    epochs = by_kind.get("epochs", EPOCHS) if spec.epochs == "auto" else spec.epochs
    of_baseline = by_kind.get("baseline_epochs", EPOCHS) if spec.epochs == "auto" else spec.epochs
    return {
        "epochs": epochs,
        "baseline_epochs": of_baseline if spec.baseline_epochs == "auto" else spec.baseline_epochs,
    }


def _by_kind(spec: RecoverySpec, kind: TaskKind | None) -> dict[str, Any]:
    """What the kind's row says, and its effort before that."""
    if kind is None or spec.method not in ("auto", "distill"):
        return {}
    return {**kind.recovery, **kind.efforts.get("standard" if spec.effort == "auto" else spec.effort, {})}
