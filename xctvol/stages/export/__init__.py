"""export: products in the formats of other programs."""

from xctvol.stages.export.imagej import write_imagej
from xctvol.stages.export.stage import export

__all__ = ["export", "write_imagej"]
