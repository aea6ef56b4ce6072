"""How failures are logged: what passes by itself in one line, everything else with all that led to it."""

from __future__ import annotations

from typing import Any

from structlog.typing import FilteringBoundLogger

from store.passing import passing


def log_failure(log: FilteringBoundLogger, what: str, error: Exception, **where: Any) -> None:
    """For ``except`` blocks. What the error says is left out where it passes: a driver's words have addresses."""
    found = passing(error)
    if found is None:
        log.error(what, **where, exc_info=error)
    else:
        log.warning(what, **where, code=found.code, error=type(error).__name__)
