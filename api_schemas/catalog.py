"""The tables as they are shown: ``GET /v1/strategies``, ``/v1/tasks``, ``/v1/architectures``, ``/v1/formats``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.architectures import Architecture
from api_schemas.formats import Format
from api_schemas.metrics import Metric
from api_schemas.strategies import Kind, Strategy
from api_schemas.task_kinds import TASK_KINDS, Effort, LabelForm, TaskKind, kinds_with
from api_schemas.tasks import Task


class StrategyInfo(BaseModel):
    name: str = Field(description="a value of `prune.strategy`")
    summary: str = Field(description="what goes, and why")
    when: str = Field(description="when it is worth a try")
    reference: str = Field(description="where the rule comes from")
    kind: Kind = Field(description="how it comes to its layers")
    measure: str | None = Field(description="what a ranked strategy ranks the layers by")
    needs_data: bool = Field(description="whether its scores are taken on text: the task's, or that of `calibration`")
    takes_threshold: bool = Field(description="whether `prune.threshold` may be given")

    @classmethod
    def of(cls, row: Strategy) -> StrategyInfo:
        return cls.model_validate(row, from_attributes=True)


class StrategyList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[StrategyInfo] = Field(description="the strategies")


class MetricInfo(BaseModel):
    name: str = Field(description="a value of `task.metric`")
    summary: str = Field(description="what it measures")
    higher_is_better: bool = Field(description="whether more is better")
    kinds: list[str] = Field(description="of task, that can be scored by it")
    also: list[str] = Field(description="kinds of task that it is measured of too, and that cannot be scored by it")

    @classmethod
    def of(cls, row: Metric) -> MetricInfo:
        return cls(
            name=row.name, summary=row.summary, higher_is_better=row.higher_is_better, kinds=kinds_with(row.name),
            also=[kind.name for kind in TASK_KINDS.values() if row.name in kind.also],
        )  # fmt: skip


class KindInfo(BaseModel):
    name: str = Field(description="a value of `task.kind`")
    summary: str = Field(description="what a model of it answers")
    labels: LabelForm | None = Field(
        description="what the label column holds: one class, a number, several classes, or a tag a word; null: none"
    )
    metrics: list[str] = Field(description="names of metrics; the first is the score unless another is asked for")
    also: list[str] = Field(description="names of metrics that are measured too, and cannot be the score")
    efforts: dict[Effort, dict[str, Any]] = Field(
        description="of `recovery.effort`: the fields of `recovery` that each sets, where they are not given"
    )

    @classmethod
    def of(cls, row: TaskKind) -> KindInfo:
        efforts = {effort: {**row.recovery, **values} for effort, values in row.efforts.items()}
        return cls(
            name=row.name, summary=row.summary, labels=row.labels, metrics=list(row.metrics), also=list(row.also),
            efforts=efforts,
        )  # fmt: skip


class TaskInfo(BaseModel):
    name: str = Field(description="a value of `task`")
    folder: str = Field(description="name of its folder in the official GLUE archive")
    columns: list[str] = Field(description="text columns of the official files")
    label_column: str = Field(description="the column of the label in its files")
    kind: str = Field(description="a name of `kinds`")
    labels: list[str] = Field(description="names in id order; empty for a regression")
    metrics: list[str] = Field(description="the first is the score")
    splits: list[str] = Field(description="dev splits; the score is taken on the first")

    @classmethod
    def of(cls, row: Task) -> TaskInfo:
        return cls(
            name=row.name,
            folder=row.folder,
            columns=list(row.columns),
            label_column=row.label_column,
            labels=list(row.label_names),
            kind=row.kind,
            metrics=list(row.metrics),
            splits=[split for split, _ in row.splits],
        )


class TaskList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[TaskInfo] = Field(description="the tasks of GLUE")
    metrics: list[MetricInfo] = Field(description="what data of your own can be scored with")
    kinds: list[KindInfo] = Field(description="what data of your own can be for")


class FormatInfo(BaseModel):
    name: str = Field(description="of `export.formats`")
    summary: str = Field(description="what it is")
    files: list[str] = Field(description="what is delivered of it, where there is as much; beside config and tokenizer")
    families: list[str] = Field(description="names of GET /v1/architectures that it can be written of")
    extra: str = Field(description="of layercut, that a worker needs to write it; empty: none")
    tolerance: float = Field(
        description="share of the largest output that its own may be off; what that is worth, its score in the report"
        " tells"
    )

    @classmethod
    def of(cls, row: Format) -> FormatInfo:
        return cls.model_validate(row, from_attributes=True)


class FormatList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[FormatInfo] = Field(description="the formats")


class StackInfo(BaseModel):
    """One list of layers. ``encoder`` and ``decoder`` are named in ``prune`` where a model has both."""

    name: str = Field(description="how `prune` names it")
    layers: str = Field(description="path of the layer list inside the base model")
    count_field: str = Field(description="the config's number of layers")


class ArchitectureInfo(BaseModel):
    name: str = Field(description="model_type of the config")
    kind: Literal["encoder", "decoder", "encoder-decoder"] = Field(
        description="an encoder-decoder is pruned with task `none` only"
    )
    layers: str = Field(description="path of the layer list inside the base model; an encoder-decoder's first one")
    count_field: str = Field(description="the config's number of layers")
    stacks: list[StackInfo] = Field(description="all its lists of layers")
    shared_layers: bool = Field(description="one set of weights is run many times: it gets faster, not smaller")
    note: str = Field(description="what is special about it")

    @classmethod
    def of(cls, row: Architecture) -> ArchitectureInfo:
        return cls.model_validate(row, from_attributes=True)


class ArchitectureList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[ArchitectureInfo] = Field(description="the families, by name")
