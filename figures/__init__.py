"""Figures of jobs and studies: plain functions from what was measured to a drawing. Draws with matplotlib."""
