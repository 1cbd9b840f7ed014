"""Annotations: which pixels of a slice show which material, one module a format they come in."""

from xctvol.annotations.base import IGNORE, Annotation
from xctvol.annotations.layers import Layer, images_in, open_layers
from xctvol.annotations.masks import decode_mask

__all__ = ["IGNORE", "Annotation", "Layer", "decode_mask", "images_in", "open_layers"]
