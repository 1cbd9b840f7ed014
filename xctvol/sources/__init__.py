"""Sources: where the pixels of a scan come from, one module a format."""

from xctvol.sources.base import Source, has_palette
from xctvol.sources.cropped import Crop, crop
from xctvol.sources.opening import open_source
from xctvol.sources.raw import RawLayout

__all__ = ["Crop", "RawLayout", "Source", "crop", "has_palette", "open_source"]
