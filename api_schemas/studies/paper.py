"""Tables 1 to 5 of the paper beside ours, and the study that makes ours. What was not run is empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from api_schemas.studies.paper_rows import Ours, Whose
from api_schemas.studies.published import Published, published, top_score
from api_schemas.studies.shown import StudyRow

#: Whose the lines of the paper are.
PUBLISHED = "published"

#: What the paper runs. Its RoBERTa and DistilBERT have no cased and uncased to choose between, or say nothing of it.
MODELS = (
    "google-bert/bert-base-uncased",
    "FacebookAI/roberta-base",
    "xlnet/xlnet-base-cased",
    "distilbert/distilbert-base-uncased",
)
TASKS = ("sst2", "mnli", "qnli", "qqp", "stsb", "rte", "mrpc")
STRATEGIES = ("top", "bottom", "symmetric", "alternate_odd", "alternate_even")
#: Layers dropped, by the model's depth; of models of several depths together, the same as shares.
DROPS = {12: (2, 4, 6), 6: (1, 2, 3)}
SHARES = (0.1667, 0.3333, 0.5)


@dataclass(frozen=True)
class PaperTable:
    """``rows`` are cells of text, one a column; empty where nothing is known."""

    number: int
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def paper_tables(rows: Iterable[StudyRow]) -> list[PaperTable]:
    """All five. Each line of the paper has ours beneath it, one for each recovery; what it does not have follows."""
    ours, facts = Ours(rows), published()
    return [make(ours, facts) for make in (_by_task, _droppable, _speed, _distilled, _order)]


def paper_grid(
    models: Sequence[str] = MODELS,
    tasks: Sequence[str] = TASKS,
    drops: Sequence[int | float] | None = None,
    rows: int | None = None,
    *,
    strategies: Sequence[str] = STRATEGIES,
    recoveries: Sequence[str] = ("finetune",),
    seeds: Sequence[int] = (42,),
) -> dict[str, Any]:
    """The body of ``POST /v1/studies`` for the paper's grid, or a part of it. ``rows``: to train on, at most.

    What it says of the training (3 epochs, 128 tokens, no warm-up) is what `finetune` does by itself.
    """
    named = [{"name": task, "max_train_rows": rows} for task in tasks] if rows is not None else list(tasks)
    return {
        "name": "The paper's tables",
        "models": list(models),
        "tasks": named,
        "strategies": list(strategies),
        "drops": list(_drops_of(models) if drops is None else drops),
        "recoveries": list(recoveries),
        "seeds": list(seeds),
        # Symmetric of an odd rest is none, as in the paper's figure 3.
        "impossible": "skip",
    }


def _drops_of(models: Iterable[str]) -> Sequence[int | float]:
    known = [published().model_of(model) for model in models]
    depths = {model.layers if model else None for model in known}
    return DROPS.get(depths.pop() or 0, SHARES) if len(depths) == 1 else SHARES


def _by_task(ours: Ours, facts: Published) -> PaperTable:
    tasks = _tasks(facts.top.tasks, ours)
    lines: list[list[str]] = []
    for called in _models(ours, facts):
        printed = [row.dropped for row in facts.top.rows if row.model == called]
        for count in sorted({*printed, *ours.drops(called)}):
            scores = [_number(top_score(called, count, task)) for task in tasks]
            lines += _published_line([called, str(count)], scores, count in printed)
            lines += ([called, str(count), who.said, *_scores(ours, who, tasks, count)] for who in ours.named(called))
    return PaperTable(
        1,
        "Dropping from the top, by task",
        ["model", "dropped", "whose", *_titles(tasks)],
        _filled(lines),
        [facts.cite(facts.top), *_task_notes(facts, tasks), "Ours: mean ± standard deviation over the seeds."],
    )


def _droppable(ours: Ours, facts: Published) -> PaperTable:
    tasks = _tasks(facts.droppable.tasks, ours)
    printed = {(row.model, row.loss): dict(zip(facts.droppable.tasks, row.layers, strict=True))
               for row in facts.droppable.rows}  # fmt: skip
    lines: list[list[str]] = []
    for called in _models(ours, facts):
        for loss in (1, 2, 3):
            found = printed.get((called, loss), {})
            counts = [str(found[task]) if task in found else "" for task in tasks]
            lines += _published_line([called, str(loss)], counts, bool(found))
            for who in ours.named(called):
                lines.append([called, str(loss), who.said, *(within(ours.of(who, task), loss) for task in tasks)])
    return PaperTable(
        2,
        "Layers that may go from the top, for a loss of so many points",
        ["model", "loss up to", "whose", *_titles(tasks)],
        _filled(lines),
        [
            facts.cite(facts.droppable),
            *facts.droppable.notes,
            "Ours: by the drops that were run. `2-3`: 2 lose no more, the next that was run does; `≥ 4`: none was run"
            " that loses more.",
        ],
    )


def within(by_count: dict[int, StudyRow], loss: float) -> str:
    """The most layers whose loss is within ``loss`` points, as far as the drops that were run tell."""
    lost = {
        count: row.score_before.mean - row.score_after.mean
        for count, row in sorted(by_count.items())
        if row.score_before and row.score_after
    }
    if not lost:
        return ""
    most = max((count for count, points in lost.items() if points <= loss), default=0)
    beyond = [count for count in lost if count > most]
    if not beyond:
        return f"≥ {most}"
    return str(most) if beyond[0] == most + 1 else f"{most}-{beyond[0] - 1}"


def _speed(ours: Ours, facts: Published) -> PaperTable:
    printed = {(row.model, row.dropped): row for row in facts.speed.rows}
    lines: list[list[str]] = []
    for called in _models(ours, facts):
        for count in sorted({*(drop for name, drop in printed if name == called), *ours.drops(called)}):
            row = printed.get((called, count))
            if row is not None:
                time = "" if row.inference_time is None else f"{row.inference_time:+d} %"
                cells = [f"{row.loss:.2f}", f"{row.parameters_millions} M", f"{row.finetuning:g} ×", time]
                lines.append([called, str(count), PUBLISHED, *cells])
            lines += ([called, str(count), who.said, *_cost(ours, who, count)] for who in ours.named(called))
    return PaperTable(
        3,
        "Loss, size and speed",
        ["model", "dropped", "whose", "loss", "parameters", "fine-tuning", "inference time"],
        _filled(lines),
        [
            facts.cite(facts.speed),
            *facts.speed.notes,
            "Ours: the loss is the mean of the tasks that were run, whose number stands behind it; the time is by the"
            " speed-up at the first batch size and length. A study does not compare the speed of fine-tuning.",
        ],
    )


def _cost(ours: Ours, whose: Whose, count: int) -> list[str]:
    if count == 0:
        parameters = ours.any_row(whose).parameters_before
        return ["0.00", _millions(parameters), "", ""]
    rows = ours.at(whose, count)
    lost = [row.score_before.mean - row.score_after.mean for row in rows if row.score_before and row.score_after]
    faster = [row.speedup.mean for row in rows if row.speedup and row.speedup.mean > 0]
    return [
        f"{sum(lost) / len(lost):.2f} ({len(lost)})" if lost else "",
        _millions(rows[0].parameters_after if rows else None),
        "",
        f"{100 * (sum(1 / times for times in faster) / len(faster) - 1):+.0f} %" if faster else "",
    ]


def _distilled(ours: Ours, facts: Published) -> PaperTable:
    tasks = _tasks(facts.distilled.tasks, ours)
    lines: list[list[str]] = []
    for row in facts.distilled.rows:
        found = dict(zip(facts.distilled.tasks, row.scores, strict=True))
        lines.append([row.model, str(row.dropped), PUBLISHED, *(_number(found.get(task)) for task in tasks)])
        for who in ours.named(row.model):
            lines.append([row.model, str(row.dropped), who.said, *_scores(ours, who, tasks, row.dropped)])
    return PaperTable(
        4,
        "Against distilled models of as many layers",
        ["model", "dropped", "whose", *_titles(tasks)],
        _filled(lines),
        [facts.cite(facts.distilled), *facts.distilled.notes],
    )


def _order(ours: Ours, facts: Published) -> PaperTable:
    tasks = _tasks(facts.order.tasks, ours)
    printed = {(row.model, row.from_): dict(zip(facts.order.tasks, row.scores, strict=True))
               for row in facts.order.rows}  # fmt: skip
    lines: list[list[str]] = []
    for called in _models(ours, facts):
        half = facts.order.dropped if (called, "pre-trained") in printed else ours.halved(called)
        for source in ("pre-trained", "fine-tuned"):
            found = printed.get((called, source), {})
            lines += _published_line([called, source], [_number(found.get(task)) for task in tasks], bool(found))
            for who in ours.named(called):
                if half is not None and who.from_fine_tuned == (source == "fine-tuned"):
                    lines.append([called, source, who.said, *_scores(ours, who, tasks, half)])
    return PaperTable(
        5,
        "Half of the layers dropped from the pre-trained or from the fine-tuned model",
        ["model", "dropped from", "whose", *_titles(tasks)],
        _filled(lines),
        [
            facts.cite(facts.order),
            *facts.order.notes,
            "Ours: `finetune` drops from the pre-trained model, `distill` from the fine-tuned one, and then distils.",
        ],
    )


def _models(ours: Ours, facts: Published) -> list[str]:
    return [*(model.name for model in facts.models), *ours.others()]


def _tasks(printed: Sequence[str], ours: Ours) -> list[str]:
    return [*printed, *(task for task in ours.tasks if task not in printed)]


def _titles(tasks: Iterable[str]) -> list[str]:
    known = published().tasks
    return [known[task].name if task in known else task for task in tasks]


def _task_notes(facts: Published, tasks: Iterable[str]) -> Iterator[str]:
    known = (facts.tasks[task] for task in tasks if task in facts.tasks)
    return (f"{task.name}: {task.note}." for task in known if task.note)


def _published_line(begin: list[str], cells: list[str], is_printed: bool) -> list[list[str]]:
    return [[*begin, PUBLISHED, *cells]] if is_printed else []


def _scores(ours: Ours, whose: Whose, tasks: Iterable[str], count: int) -> list[str]:
    return [ours.score(whose, task, count) for task in tasks]


def _filled(lines: Iterable[list[str]]) -> list[list[str]]:
    """Without those that have nothing behind their first three."""
    return [line for line in lines if any(line[3:])]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _millions(parameters: int | None) -> str:
    return "" if parameters is None else f"{parameters / 1e6:.0f} M"
