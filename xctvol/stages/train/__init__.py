"""Train: from pairs to a model file."""

from xctvol.stages.train.settings import MOST_REPLICATES, LearningOptions, TrainOptions
from xctvol.stages.train.stage import train

__all__ = ["MOST_REPLICATES", "LearningOptions", "TrainOptions", "train"]
