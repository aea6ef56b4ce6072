"""What may be asked of pruning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api_schemas.errors import LayercutError
from api_schemas.objectives import Objective
from api_schemas.per_stack import AMOUNTS, PerStack
from api_schemas.read_spec import ReadSpec
from api_schemas.request_parts import Column, DataPath, Name, Parameters, Request, Whole
from api_schemas.strategies import STRATEGIES

# More than any model has; it keeps a refusal shorter than the request.
Layers = Annotated[list[Whole], Field(max_length=1024)]
Ratio = Annotated[float, Field(gt=0, lt=1)]


class CalibrationSpec(Request):
    """The text that layers are measured on, by strategies that need some: the task's training rows, or text alone."""

    source: Literal["auto", "task", "text"] = Field(
        default="auto", description="auto: `text` where a dataset is given, else `task`"
    )
    dataset: DataPath | None = Field(
        default=None,
        min_length=1,
        description="of `text`: TXT (a text a line), CSV, TSV, JSON, JSONL or Parquet, named as `task.dataset` is",
    )
    text_columns: list[Column] = Field(
        default=[], max_length=4, description="of `dataset`; by default [text]. TXT has none"
    )
    read: ReadSpec = ReadSpec()
    rows: int = Field(default=512, ge=-(2**31), le=100_000, description="measured on a seeded sample of this many rows")

    @model_validator(mode="after")
    def _whole(self) -> CalibrationSpec:
        if self.rows < 1:
            raise LayercutError(
                "validation_failed",
                f"calibration on {self.rows} rows measures nothing: give at least 1",
                param="/prune/calibration/rows",
            )
        if self.source == "text" and self.dataset is None:
            raise LayercutError(
                "validation_failed", "calibration on text needs a dataset", param="/prune/calibration/dataset"
            )
        extra = "dataset" if self.dataset is not None else "text_columns"
        if (self.source == "task" or self.dataset is None) and getattr(self, extra):
            raise LayercutError(
                "validation_failed",
                f"{extra} is for calibration on text; the task has its own",
                param=f"/prune/calibration/{extra}",
            )
        return self

    @property
    def on_text(self) -> bool:
        return self.dataset is not None

    @property
    def decided(self) -> CalibrationSpec:
        """With no "auto" in it."""
        return self.model_copy(update={"source": "text" if self.on_text else "task"})


class PruneSpec(Request):
    """Which layers go; in a request, a plain string is the strategy.

    One amount at most is given; without any, a third of the layers goes.

    An encoder-decoder has two lists of layers, each numbered from 0: there a value is given for each by name,
    ``{"encoder": …, "decoder": …}``, and one that is not named stays whole.
    """

    strategy: Name = Field(
        default="top",
        description="a name of GET /v1/strategies; of an embedding, `contribution` unless another is given",
    )
    drop: PerStack[Whole] | None = Field(default=None, description="number of layers to drop")
    drop_ratio: PerStack[Ratio] | None = Field(
        default=None, description="share of the layers to drop, rounded; of an encoder-decoder, of each"
    )
    drop_layers: PerStack[Layers] | None = Field(
        default=None, description="for `explicit`, from 0 in the original model"
    )
    keep_layers: PerStack[Layers] | None = Field(default=None, description="for `explicit`: all others go")
    target_params: Parameters | None = Field(default=None, description="drop as few layers as reach this size")
    threshold: float | None = Field(
        default=None, ge=-1e9, le=1e9, description="for `contribution`: every layer above it goes"
    )
    objective: Objective | None = Field(default=None, description="for `auto`: what is to be reached")
    protect_layers: PerStack[Layers] | None = Field(
        default=None,
        description="never dropped; by default the first layer, and the last of a decoder, for strategies"
        " that rank layers, else []",
    )
    calibration: CalibrationSpec = CalibrationSpec()

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"strategy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _suits_its_strategy(self) -> PruneSpec:
        # Where none is asked for, the task's kind says which it is.
        if "strategy" in self.model_fields_set:
            self.check_strategy()
        return self

    def check_strategy(self) -> None:
        """Raise ``unknown_strategy``, and ``validation_failed`` for more than one amount, or one that the strategy does
        not take.
        """
        strategy = STRATEGIES.find(self.strategy, "/prune/strategy")
        given = [name for name in (*AMOUNTS, "objective") if getattr(self, name) is not None]
        self._check_nothing(given)
        if len(given) > 1:
            raise LayercutError(
                "validation_failed", f"give one of {', '.join(given)}, not {len(given)} at once", param="/prune"
            )
        if self.objective is not None and not strategy.searches:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} takes no objective; auto does",
                param="/prune/objective",
            )
        lists = bool(given) and given[0] in ("drop_layers", "keep_layers")
        if (strategy.kind == "explicit") != lists:
            right = (
                "takes drop_layers or keep_layers" if strategy.kind == "explicit" else "does not take a list of layers"
            )
            where = "/prune/drop_layers" if strategy.kind == "explicit" else f"/prune/{given[0]}"
            raise LayercutError("validation_failed", f"strategy {self.strategy!r} {right}", param=where)
        if self.threshold is not None and not strategy.takes_threshold:
            able = ", ".join(row.name for row in STRATEGIES.values() if row.takes_threshold)
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} takes no threshold; these do: {able}",
                param="/prune/threshold",
            )
        if strategy.searches and self.calibration.on_text:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} looks at the task's rows, and not at other text",
                param="/prune/calibration/dataset",
            )
        if not strategy.needs_data and self.calibration != CalibrationSpec():
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} looks at no text: it takes no calibration",
                param="/prune/calibration",
            )

    def _check_nothing(self, given: list[str]) -> None:
        """That nothing is said of what is to go, where nothing goes."""
        if not STRATEGIES[self.strategy].drops_nothing:
            return
        given = [*given, *(["protect_layers"] if self.protect_layers is not None else [])]
        if given:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} drops nothing: it takes no {given[0]}",
                param=f"/prune/{given[0]}",
            )

    @property
    def decided(self) -> PruneSpec:
        """With no "auto" in what is read."""
        decided: dict[str, object] = {"objective": self.objective.decided} if self.objective else {}
        if STRATEGIES[self.strategy].needs_data:
            decided["calibration"] = self.calibration.decided
        return self.model_copy(update=decided)

    @property
    def open_size(self) -> bool:
        """Whether it takes a search to know how many layers go."""
        goal = self.objective
        return goal is not None and (goal.min_retention is not None or goal.max_latency_ms is not None)


class _OrStrategy:
    """In the schema of a request. What is answered is always the object, and so is the schema of that."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = "|".join(map(re.escape, STRATEGIES))
        return {"anyOf": [{"type": "string", "maxLength": 200, "pattern": f"^({names})$"}, handler(core)]}


#: As a request has it.
AskedPrune = Annotated[PruneSpec, _OrStrategy]
