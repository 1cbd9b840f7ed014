"""segment: every slice of a volume through a model, into labels beside it."""

from xctvol.stages.segment.again import SegmentAgain, segment_again
from xctvol.stages.segment.stage import segment
from xctvol.stages.segment.where import Where

__all__ = ["SegmentAgain", "Where", "segment", "segment_again"]
