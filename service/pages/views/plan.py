"""What a job would be, as the form of a new job shows it while it is filled in."""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.estimates import Estimate
from api_schemas.plans import Plan
from api_schemas.previews import JobPreview
from api_schemas.resolved import ResolvedRequest
from service.pages.views.strip import Strip, strip_of
from service.pages.words import duration, plural

#: Where the minutes of an estimate come from, in words.
BASES = {
    "jobs": "by what this kind of device took for {jobs}",
    "probe": "by how fast its worker multiplies matrices",
    "guess": "a guess, which may be off by several times",
}
DEVICES = {"cpu": "a CPU", "cuda": "a GPU"}


@dataclass(frozen=True)
class PlanView:
    """``open`` says why it is not known yet which layers go; empty where it is."""

    model: str
    architecture: str
    strategy: str
    strip: Strip | None
    dropped: list[int] | None
    open: str
    parameters_before: int | None
    parameters_after: int | None
    bytes_before: int | None
    bytes_after: int | None
    speedup: float | None
    recovery: str
    takes: str
    takes_known_baseline: str
    basis: str
    warnings: list[str]


def plan_view(preview: JobPreview) -> PlanView:
    resolved, estimate = preview.resolved, preview.estimate
    plan = resolved.plan
    known = None if estimate is None else estimate.minutes_with_baseline
    return PlanView(
        model=preview.model,
        architecture=plan.model.architecture if plan else "",
        strategy=resolved.prune.strategy,
        strip=strip_of(plan.layers_total, plan.kept) if plan else None,
        dropped=plan.dropped if plan else None,
        open=_open(plan),
        parameters_before=plan.parameters_before if plan else None,
        parameters_after=plan.parameters_after if plan else None,
        bytes_before=plan.bytes_before if plan else None,
        bytes_after=plan.bytes_after if plan else None,
        speedup=plan.expected_speedup if plan else None,
        recovery=_recovery(resolved),
        takes=minutes(estimate.minutes if estimate else None),
        takes_known_baseline="" if known is None else minutes(known),
        basis=_basis(estimate, preview.no_estimate),
        warnings=list(plan.warnings if plan else ()) + list(estimate.notes if estimate else ()),
    )


def minutes(found: float | None) -> str:
    return "" if found is None else duration(max(1.0, found * 60))


def _open(plan: Plan | None) -> str:
    if plan is None:
        return "The model cannot be looked at from here now: its worker works the plan out."
    if plan.kept is not None:
        return ""
    if plan.strategy == "auto":
        return "The job finds out which layers may go."
    return f"The job measures the layers first: {plan.strategy} goes by that."


def _recovery(resolved: ResolvedRequest) -> str:
    found = resolved.recovery
    if found is None:
        return ""
    if found.method == "none":
        return "No recovery: the layers go, and nothing is trained."
    method = {"distill": "Distillation from the full model", "finetune": "Fine-tuning"}[found.method]
    epochs = f"{found.epochs:g} {'epoch' if found.epochs == 1 else 'epochs'}"
    return f"{method}, {found.effort} effort: {epochs}."


def _basis(estimate: Estimate | None, why_not: str | None) -> str:
    if estimate is None:
        return why_not or ""
    device = estimate.device_name or DEVICES.get(estimate.device, str(estimate.device))
    return f"On {device}, {BASES[estimate.basis].format(jobs=plural(estimate.measured_jobs, 'job'))}."
