"""What the stages of one run hand on to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from workers.ledger import Ledger
from workers.narrator import Narrator
from workers.subject import Subject
from workers.training.loop import Trained


@dataclass(frozen=True)
class Workbench:
    """``out`` is a folder of the run's own. ``trainings`` is filled by stage name."""

    subject: Subject
    story: Narrator
    ledger: Ledger
    out: Path
    job_id: str | None
    trainings: dict[str, Trained] = field(default_factory=dict)
