"""convert: the slices of a scan become a volume: sharded, multiscale, with its voxel size."""

from xctvol.stages.convert.stage import convert, convert_labels

__all__ = ["convert", "convert_labels"]
