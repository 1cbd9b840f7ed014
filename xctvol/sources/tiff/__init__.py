"""TIFF files: one slice a file, or all slices as the pages of one file.

Grey values come as they are stored, in native byte order; bilevel pages as 0 and 1.
"""

from xctvol.sources.tiff.reading import (
    PagedTiff,
    open_pages,
    read_any,
    read_header,
    read_palette,
    read_slice,
)

__all__ = ["PagedTiff", "open_pages", "read_any", "read_header", "read_palette", "read_slice"]
