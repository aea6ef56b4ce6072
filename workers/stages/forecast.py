"""What lies ahead of a job, in optimizer steps of the full model: what its ETA is made of."""

from __future__ import annotations

from api_schemas.jobs import Stage
from api_schemas.strategies import STRATEGIES
from workers.evaluation import latency
from workers.stages.run_context import RunContext
from workers.stages.search import expected_steps


def expect(run: RunContext) -> None:
    """Tell the progress reporter what to count on."""
    job = run.job
    work: dict[Stage, float] = {}
    step = 1.0
    if job.trains:
        assert job.train is not None
        rows, recovery = len(job.train), job.recovery
        whole = recovery.of_baseline()
        # A step of distilling has the baseline's answer in it: a third of what its training step takes.
        step = (2 / 3 + (recovery.method == "distill") / 3) * recovery.batch_of(rows) / whole.batch_of(rows)
        work = {
            Stage.BASELINE: whole.steps_of(rows) * float(job.trains_baseline),
            Stage.RECOVERING: recovery.steps_of(len(job.learnt)) * step,
        }
    searches = STRATEGIES[job.request.prune.strategy].searches
    run.progress.expect(
        work,
        rounds=len(job.request.seeds),
        benchmark_seconds=len(job.latency_cells) * 2 * latency.SECONDS_A_CELL,
        search=expected_steps(job) * step if searches else 0.0,  # its trainings distil
    )
