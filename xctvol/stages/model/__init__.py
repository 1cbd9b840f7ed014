"""Model: models that come from elsewhere, or are adapted to a scan."""

from xctvol.stages.model.statistics import recalibrate
from xctvol.stages.model.xctfcn import Preprocess, import_xctfcn

__all__ = ["Preprocess", "import_xctfcn", "recalibrate"]
