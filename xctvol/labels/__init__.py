"""Labels: integer volumes whose values stand for materials."""

from xctvol.labels.labels import Labels, LabelsProduct, open_labels
from xctvol.labels.rules import ByMaterials, Keep, LabelRule, NonZero, values_of

__all__ = [
    "ByMaterials",
    "Keep",
    "LabelRule",
    "Labels",
    "LabelsProduct",
    "NonZero",
    "open_labels",
    "values_of",
]
