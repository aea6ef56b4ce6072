"""What can be asked for, straight from the tables."""

from __future__ import annotations

from fastapi import APIRouter

from api_schemas.architectures import ARCHITECTURES
from api_schemas.catalog import (
    ArchitectureInfo,
    ArchitectureList,
    FormatInfo,
    FormatList,
    KindInfo,
    MetricInfo,
    StrategyInfo,
    StrategyList,
    TaskInfo,
    TaskList,
)
from api_schemas.formats import FORMATS
from api_schemas.metrics import METRICS
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.tasks import TASKS

router = APIRouter(prefix="/v1", tags=["catalog"])


# async: the tables are at hand, and a trip through the thread pool would cost more than the answer
@router.get("/strategies")
async def list_strategies() -> StrategyList:
    """Names of `prune.strategy`."""
    return StrategyList(data=[StrategyInfo.of(row) for row in STRATEGIES.values()])


@router.get("/tasks")
async def list_tasks() -> TaskList:
    """Names of `task`, and of `task.metric` for data of your own."""
    return TaskList(
        data=[TaskInfo.of(row) for row in TASKS.values()],
        metrics=[MetricInfo.of(row) for row in METRICS.values()],
        kinds=[KindInfo.of(row) for row in TASK_KINDS.values()],
    )


@router.get("/architectures")
async def list_architectures() -> ArchitectureList:
    """Model families whose layers can be dropped, by the `model_type` of their config."""
    return ArchitectureList(data=[ArchitectureInfo.of(row) for row in ARCHITECTURES.values()])


@router.get("/formats")
async def list_formats() -> FormatList:
    """Names of `export.formats`: what a model can be delivered as, beside safetensors."""
    return FormatList(data=[FormatInfo.of(row) for row in FORMATS.values()])
