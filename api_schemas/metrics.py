"""METRICS: what a score can be. Which kind of task can be scored by which stands in TASK_KINDS."""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.registry import Registry


@dataclass(frozen=True)
class Metric:
    """One way to score predictions, times 100. ``higher_is_better`` is its direction."""

    name: str
    summary: str
    higher_is_better: bool = True


# fmt: off
METRICS: Registry[Metric] = Registry("metric", "validation_failed", (
    Metric("accuracy", "Share of rows with the right label."),
    Metric("f1", "F1 of the positive label (`task.positive_label`), else the mean of each label's F1."),
    Metric("matthews_correlation", "Matthews correlation coefficient."),
    Metric("pearson", "Pearson correlation with the gold number."),
    Metric("spearman", "Spearman rank correlation with the gold number; of an embedding model, of the cosine of each"
                       " of `task.pairs` with its gold number."),
    Metric("micro_f1", "Of several labels a row: F1 over all labels of all rows."),
    Metric("macro_f1", "Of several labels a row: the mean of each label's F1."),
    Metric("exact_match", "Of several labels a row: share of rows with all labels right and no other."),
    Metric("entity_f1", "F1 of whole entities, first to last word and type, as seqeval has it."),
    Metric("entity_precision", "Share of the entities given that are right."),
    Metric("entity_recall", "Share of the gold entities that are given."),
    Metric("cosine", "Mean cosine of each text's vector and the source's vector of it."),
    Metric("cosine_p5", "5th percentile of these cosines: one text in twenty is further off."),
    Metric("neighbours", "Share of each text's ten nearest neighbours, among the texts held out, that are those of the"
                         " source."),
))
# fmt: on
