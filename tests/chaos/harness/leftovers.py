"""What may lie in the store once everything has settled: what a row names, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: A job that ended so may be asked for again: its checkpoints are kept for days.
RETRIED = ("failed", "cancelled")
MADE = "made"


@dataclass(frozen=True)
class Named:
    """By rows: of each job its status and the prefix of its files, and of each prefix of the cache its state."""

    jobs: dict[str, tuple[str, str | None]]
    cache: dict[str, str]

    def unswept(self, store: Path) -> dict[str, str]:
        """The files of which nothing should be left, by their paths, with what is known instead."""
        found = (path.relative_to(store) for start in ("jobs", "cache") for path in store.glob(f"{start}/**/*"))
        return {str(path): self._told(path) for path in found if (store / path).is_file() and not self._keeps(path)}

    def _keeps(self, path: Path) -> bool:
        """One with a ``#`` was never written to its end."""
        return "#" not in path.name and any(path.is_relative_to(start) for start in self._kept(path))

    def _kept(self, path: Path) -> Iterator[str]:
        """Where files like that one are kept."""
        yield from (prefix for prefix, state in self.cache.items() if state == MADE)
        status, winner = self.jobs.get(path.parts[1], ("", None))
        if winner:
            yield winner
        if status in RETRIED:
            yield f"jobs/{path.parts[1]}/checkpoint"

    def _told(self, path: Path) -> str:
        if path.parts[0] == "jobs":
            return "its job is {}, and kept is {}".format(*self.jobs.get(path.parts[1], ("gone", None)))
        return f"the cache says {[state for prefix, state in self.cache.items() if path.is_relative_to(prefix)]}"
