"""The figures of one job, by name: from its report, its plan and its events."""

from __future__ import annotations

from figures.before_after import NAME as BEFORE_AND_AFTER
from figures.before_after import before_and_after
from figures.curves import NAME as CURVES
from figures.curves import CurveData, Line, LossPoint, Score, curve_points, curves
from figures.layers import NAME as LAYERS
from figures.layers import layer_strip, strip_of_plan, strip_of_report
from figures.search import NAME as SEARCH
from figures.search import search_curve

__all__ = [
    "BEFORE_AND_AFTER",
    "CURVES",
    "LAYERS",
    "NAMES",
    "SEARCH",
    "CurveData",
    "Line",
    "LossPoint",
    "Score",
    "before_and_after",
    "curve_points",
    "curves",
    "layer_strip",
    "search_curve",
    "strip_of_plan",
    "strip_of_report",
]

#: In the order in which they are shown.
NAMES = (LAYERS, BEFORE_AND_AFTER, CURVES, SEARCH)
