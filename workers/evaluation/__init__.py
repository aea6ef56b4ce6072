"""Scores, how sure they are, and how fast the model is."""
