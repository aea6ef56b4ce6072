"""What a request may say of earlier jobs, and of dropping nothing: what ``JobRequest`` and ``PlanRequest`` check."""

from __future__ import annotations

from api_schemas.errors import LayercutError
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import RecoverySpec
from api_schemas.strategies import STRATEGIES


def settled(prune: PruneSpec, recovery: RecoverySpec) -> RecoverySpec:
    """``recovery`` with the method that is the only one left: where nothing is dropped and no earlier job is gone on
    from, there is nothing to mend, and the model is evaluated.

    Raises ``validation_failed`` for another method there.
    """
    if not STRATEGIES[prune.strategy].drops_nothing or recovery.from_ is not None or recovery.method == "none":
        return recovery
    if recovery.method != "auto":
        raise LayercutError(
            "validation_failed",
            f"nothing is dropped, so there is nothing that {recovery.method!r} could mend: leave the method out to"
            " evaluate the model, or say with recovery.from which job's result is to be recovered again",
            param="/recovery/method",
        )
    return recovery.model_copy(update={"method": "none"})


def check_from(prune: PruneSpec, recovery: RecoverySpec, *, trains: bool) -> None:
    """Raise ``validation_failed`` where ``recovery.from`` does not go with the rest; ``trains``: a model is trained."""
    strategy, start = STRATEGIES[prune.strategy], recovery.from_
    if start is None:
        return
    if strategy.searches:
        raise LayercutError(
            "validation_failed",
            f"strategy {strategy.name!r} cuts its candidates from the baseline, and cannot start from what {start}"
            f" left of it: name another strategy, or search in model: {start}",
            param="/prune/strategy",
        )
    if strategy.drops_nothing and not trains:
        raise LayercutError(
            "validation_failed",
            f"nothing is dropped and nothing is trained, so what {start} delivered would stay as it is: to evaluate it,"
            f" give model: {start} in place of recovery.from",
            param="/prune/strategy",
        )
