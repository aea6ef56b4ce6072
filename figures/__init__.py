"""Figures of jobs and studies: plain functions from what was measured to a drawing. Draws with matplotlib."""

from figures.drawing import Drawing as Drawing
from figures.missing import MissingData as MissingData
from figures.style import Theme as Theme
