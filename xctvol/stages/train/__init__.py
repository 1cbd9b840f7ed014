"""Train: from pairs to a model file."""

from xctvol.stages.train.settings import LearningOptions, TrainOptions
from xctvol.stages.train.stage import train

__all__ = ["LearningOptions", "TrainOptions", "train"]
