"""What `auto` may be asked to reach."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from api_schemas.errors import LayercutError
from api_schemas.request_parts import Parameters, Request, Whole
from api_schemas.shares import Share

GOALS = ("drop", "min_retention", "max_params", "max_latency_ms")


class Objective(Request):
    """What `auto` is to reach. Exactly one goal; ``batch_size`` and ``sequence_length`` say where latency is meant."""

    drop: Whole | None = Field(default=None, description="the best choice of this many layers")
    min_retention: Annotated[float, Share(one=True)] | None = Field(
        default=None, description="as few layers as keep this share of the baseline's score (0.98 is 98 %)"
    )
    max_params: Parameters | None = Field(default=None, description="as many layers as stay within this size")
    max_latency_ms: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="as many layers as have their p50 within this, on the job's device"
    )
    batch_size: int | None = Field(default=None, ge=1, le=1024, description="of max_latency_ms; 1 unless given")
    sequence_length: int | None = Field(
        default=None, ge=4, le=8192, description="tokens, of max_latency_ms; 128 unless given"
    )

    @model_validator(mode="after")
    def _one_goal(self) -> Objective:
        given = [name for name in GOALS if getattr(self, name) is not None]
        if len(given) != 1:
            count = f"{' and '.join(given)} at once" if given else "none"
            raise LayercutError(
                "validation_failed", f"give one of {', '.join(GOALS)}, not {count}", param="/prune/objective"
            )
        for name in ("batch_size", "sequence_length"):
            if getattr(self, name) is not None and self.max_latency_ms is None:
                raise LayercutError(
                    "validation_failed", f"{name} is for max_latency_ms", param=f"/prune/objective/{name}"
                )
        return self

    @property
    def cell(self) -> tuple[int, int] | None:
        """(batch size, tokens) that latency is asked of."""
        return None if self.max_latency_ms is None else (self.batch_size or 1, self.sequence_length or 128)

    @property
    def decided(self) -> Objective:
        """With no default in it."""
        if self.cell is None:
            return self
        return self.model_copy(update={"batch_size": self.cell[0], "sequence_length": self.cell[1]})
