"""Volumes on disk: OME-Zarr 0.5, sharded, multiscale, with voxel sizes in micrometres."""

from xctvol.volume.array import Shard, ShardedArray
from xctvol.volume.buffers import release, reused
from xctvol.volume.checksums import Checksums
from xctvol.volume.codecs import Codec, CodecName, default_codec
from xctvol.volume.layout import SLAB, Layout, layout_of
from xctvol.volume.metadata import (
    image_label,
    label_names,
    list_label,
    read_attributes,
    unlist_label,
)
from xctvol.volume.parts import bytes_in_transit, open_parts
from xctvol.volume.pyramid import Halve, halve_grey, halve_labels, halved_shape
from xctvol.volume.reading import reading_bytes
from xctvol.volume.shards import shard_checksum
from xctvol.volume.threads import in_threads
from xctvol.volume.volume import (
    Image,
    ImageProduct,
    Volume,
    halved_in_threads,
    open_volume,
)
from xctvol.volume.window import Histogram, Percentiles, Window, parse_window

__all__ = [
    "SLAB",
    "Checksums",
    "Codec",
    "CodecName",
    "Halve",
    "Histogram",
    "Image",
    "ImageProduct",
    "Layout",
    "Percentiles",
    "Shard",
    "ShardedArray",
    "Volume",
    "Window",
    "bytes_in_transit",
    "default_codec",
    "halve_grey",
    "halve_labels",
    "halved_in_threads",
    "halved_shape",
    "image_label",
    "in_threads",
    "label_names",
    "layout_of",
    "list_label",
    "open_parts",
    "open_volume",
    "parse_window",
    "read_attributes",
    "reading_bytes",
    "release",
    "unlist_label",
    "reused",
    "shard_checksum",
]
