"""Evaluate: how well models label slices that they have not seen, material by material."""

from xctvol.stages.evaluate.product import ScoreRow, Scores, open_scores
from xctvol.stages.evaluate.stage import evaluate

__all__ = ["ScoreRow", "Scores", "evaluate", "open_scores"]
