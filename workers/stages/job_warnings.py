"""What the report must say of a job before its first weight moves: what it leaves out, and what means less."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sources.sentence_modules import MODULES
from workers.stages.resolved_job import ResolvedJob


def warnings_of(job: ResolvedJob) -> list[str]:
    """For report, card and events."""
    return [warning for told in WARNINGS for warning in told(job)]


def _data(job: ResolvedJob) -> Iterator[str]:
    if job.data is not None:
        yield from job.data.warnings


def _not_scored(job: ResolvedJob) -> Iterator[str]:
    if job.data is not None and not job.mapped and job.why_not_scored is not None:
        yield f"the model is not scored: {job.why_not_scored}"


def _not_measured(job: ResolvedJob) -> Iterator[str]:
    if job.mapped:
        yield (
            f"the model ({(job.facts.bytes or 0) / 1e9:.1f} GB) is larger than the memory that is free here: its speed,"
            " its FLOPs and its scores are not measured, and it is verified in its own dtype, not in float32"
        )


def _shortened(job: ResolvedJob) -> Iterator[str]:
    longest = job.facts.max_positions
    asked = job.request.evaluation.latency.sequence_lengths
    long = sorted(length for length in asked if longest is not None and length > longest)
    if long and job.latency_cells:
        lengths = ", ".join(map(str, long))
        yield f"speed at {lengths} tokens is measured at {longest}: the model reads no more than that"


def _modules_left_out(job: ResolvedJob) -> Iterator[str]:
    if job.trains and job.modules is None and (job.folder / MODULES).is_file():
        yield (
            "the source is a sentence-transformers folder, and what is delivered is a model with a head, trained from"
            " it: its modules (pooling and what follows), prompts and max_seq_length are left out"
        )


def _too_long(job: ResolvedJob) -> Iterator[str]:
    longest, positions = job.modules and job.modules.max_seq_length, job.facts.max_positions
    if longest and positions and longest > positions:
        yield (
            f"as in the source, max_seq_length is {longest} and the model has {positions} positions: texts of more than"
            f" {positions} tokens fail"
        )


WARNINGS: tuple[Callable[[ResolvedJob], Iterator[str]], ...] = (
    _data,
    _not_scored,
    _not_measured,
    _shortened,
    _modules_left_out,
    _too_long,
)
