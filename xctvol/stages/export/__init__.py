"""export: products in the formats of other programs."""

from xctvol.stages.export.imagej import write_imagej

__all__ = ["write_imagej"]
