"""segment: every slice of a volume through a model, into labels beside it."""

from xctvol.stages.segment.stage import segment

__all__ = ["segment"]
