"""The model card: the report, for people and for the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api_schemas.markdown import line
from api_schemas.reports import Report
from workers.export.figures import CardFigure
from workers.export.front_matter import AUTO_CLASSES, EMBEDS, front_matter, hub_id, pipeline_of

# Folders whose name says nothing of what lies in them.
GENERIC = re.compile(
    r"(best|checkpoint|final|hf|last|model|output|pretrained|source)([-_](checkpoint|model))?([-_]?\d+)?", re.IGNORECASE
)


def make_card(report: Report, figures: Sequence[CardFigure] = ()) -> str:
    """README.md: front matter that the hub reads, then the report in words, tables and ``figures``."""
    pipeline, name = pipeline_of(report), _source_name(report)
    delivered = report.verification.passed is not None
    what = f"with {len(report.layers.kept)} of {report.layers.total} layers" if delivered else "as it is, evaluated"
    title = f"{name} {what}"
    return (
        _templates()
        .get_template("card.md.jinja" if delivered else "evaluation.md.jinja")
        .render(
            front_matter=front_matter(report, pipeline, title),
            title=title,
            auto_class=AUTO_CLASSES.get(pipeline, "AutoModel"),
            embeds=pipeline == EMBEDS,
            name=name,
            report=report,
            rows=_rows(report),
            figures={figure.name: figure for figure in figures},
            score=_score,
        )
    )


def _templates() -> Environment:
    # Not HTML: what must be tamed is Markdown, and `line` does that.
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["line"] = line
    return env


def _source_name(report: Report) -> str:
    """What people call the source: the last part of its id, with the folder's above it where that alone says nothing.

    No more of a path than that: where it lies is nobody else's business.
    """
    path = PurePath(report.model.id)
    generic = hub_id(report) is None and GENERIC.fullmatch(path.name) and path.parent.name
    name = f"{path.parent.name}/{path.name}" if generic else path.name
    # A title is one line of text, whatever a folder may be called.
    return "".join(character for character in " ".join(name.split()) if character.isprintable())


def _rows(report: Report) -> list[tuple[str, str, str, str]]:
    """What, before, after, change: one row for each figure that both sides, or at least one, have."""
    before, after, layers = report.before, report.after, report.layers
    rows = [
        ("layers", str(layers.total), str(len(layers.kept)), _change(layers.total, len(layers.kept))),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", _change(before.parameters, after.parameters)),
        ("weights, MB", _mb(before.bytes), _mb(after.bytes), _change(before.bytes, after.bytes)),
    ]
    for name in sorted(before.metrics.keys() | after.metrics.keys()):
        was, now = before.metrics.get(name), after.metrics.get(name)
        shift = f"{now - was:+.2f}" if was is not None and now is not None else ""
        of = report.task.metrics_of.get(name)
        rows.append((f"{name} ({of})" if of else name, _score(was), _score(now), shift))
    if after.scores is not None and after.scores.std is not None:
        spread = [side.scores.std if side.scores else None for side in (before, after)]
        name = f"standard deviation over {len(after.scores.by_seed)} training seeds"
        rows.append((name, _score(spread[0]), _score(spread[1]), ""))
    for one, other in zip(before.latency, after.latency, strict=False):
        name = f"p50 latency, batch {one.batch_size} × {one.sequence_length} tokens, ms"
        rows.append((name, f"{one.p50_ms:.2f}", f"{other.p50_ms:.2f}", f"{one.p50_ms / other.p50_ms:.2f}× as fast"))
    return rows


def _change(before: float, after: float) -> str:
    return f"{(after / before - 1) * 100:+.1f} %" if before else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
