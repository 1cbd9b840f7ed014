"""Pairs: slices and their masks, the annotation that models learn from and are scored on."""

from xctvol.pairs.folder import Annotated, Facts, Pair, Pairs, open_pairs
from xctvol.pairs.masks import IGNORE, decode_mask

__all__ = ["IGNORE", "Annotated", "Facts", "Pair", "Pairs", "decode_mask", "open_pairs"]
