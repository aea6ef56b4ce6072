"""The words and shapes of a status, a verdict and a stage: no page tells them by colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.jobs import Stage, Status
from api_schemas.reports import Outcome


@dataclass(frozen=True)
class Word:
    """``tone`` is its colour, ``shape`` the sign before it: both are names in site.css and macros.html."""

    text: str
    tone: str
    shape: str
    means: str = ""


STATUSES: dict[Status, Word] = {
    Status.QUEUED: Word("Queued", "waiting", "hollow", "It waits for a worker."),
    Status.RUNNING: Word("Running", "active", "half", "A worker is at it."),
    Status.CANCELLING: Word("Cancelling", "waiting", "half", "Its worker was told to stop."),
    Status.SUCCEEDED: Word("Succeeded", "good", "check", "The smaller model is ready."),
    Status.FAILED: Word("Failed", "bad", "cross", "It ended with an error."),
    Status.CANCELLED: Word("Cancelled", "quiet", "bar", "It was stopped on request."),
}

OUTCOMES: dict[Outcome, Word] = {
    "better": Word("Better", "good", "up", "The smaller model scores higher, beyond what chance explains."),
    "kept": Word("Kept", "good", "check", "The score is kept: what may be lost at most lies within the margin."),
    "undecided": Word("Undecided", "waiting", "half", "The rows that were scored cannot tell: more would decide."),
    "lost": Word("Lost", "bad", "down", "More of the score is lost than the margin allows."),
}

STAGES: dict[Stage, str] = {
    Stage.RESOLVING: "Read the data, decide what was left open",
    Stage.BASELINE: "Fine-tune the full model",
    Stage.SCORING: "Measure the layers",
    Stage.PLANNING: "Choose the layers to drop",
    Stage.PRUNING: "Take them out",
    Stage.RECOVERING: "Train what is left",
    Stage.EVALUATING: "Score before and after",
    Stage.BENCHMARKING: "Time before and after",
    Stage.EXPORTING: "Write the files",
    Stage.VERIFYING: "Load and check them with stock libraries",
    Stage.PUBLISHING: "Hash and store them",
}
