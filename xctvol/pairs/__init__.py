"""Pairs: slices and their masks, the annotation that models learn from and are scored on."""

from xctvol.annotations import IGNORE
from xctvol.pairs.folder import Annotated, Facts, Pair, Pairs, open_pairs

__all__ = ["IGNORE", "Annotated", "Facts", "Pair", "Pairs", "open_pairs"]
