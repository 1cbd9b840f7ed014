"""Sources: where the pixels of a scan come from, one module a format."""

from xctvol.sources.base import Source
from xctvol.sources.opening import open_source

__all__ = ["Source", "open_source"]
