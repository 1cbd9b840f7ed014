"""xctvol: segment and measure X-ray CT volumes of soil and plants, out of core.

>>> import xctvol as xv
>>> xv.parse_spacing("0.65um").x
0.65

Importing the package loads nothing heavy: each name is resolved when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xctvol.errors import (
        InputError,
        PartialError,
        PlanError,
        StoppedError,
        UsageError,
        XctvolError,
    )
    from xctvol.execution import Dask
    from xctvol.grid import Box
    from xctvol.labels import Labels, open_labels
    from xctvol.materials import Materials
    from xctvol.model.file import Model, open_model
    from xctvol.pairs import Pairs, open_pairs
    from xctvol.plan import Plan, Serial
    from xctvol.sources import RawLayout, Source, crop, open_source
    from xctvol.stages.convert import convert, convert_labels
    from xctvol.stages.evaluate import Scores, evaluate, open_scores
    from xctvol.stages.export import export
    from xctvol.stages.measure import measure
    from xctvol.stages.model import import_xctfcn, recalibrate
    from xctvol.stages.report import report
    from xctvol.stages.segment import Where, segment, segment_again
    from xctvol.stages.train import train
    from xctvol.stages.verify import Verdict, repair, verify
    from xctvol.stages.view import view
    from xctvol.studies import Study, open_study, study
    from xctvol.tables import Tables, open_tables
    from xctvol.units import Spacing, parse_spacing
    from xctvol.volume import Volume, open_volume

_HOMES = {
    "Box": "grid",
    "Dask": "execution",
    "InputError": "errors",
    "Labels": "labels",
    "Materials": "materials",
    "Model": "model.file",
    "Pairs": "pairs",
    "PartialError": "errors",
    "Plan": "plan",
    "PlanError": "errors",
    "RawLayout": "sources",
    "Scores": "stages.evaluate",
    "Serial": "plan",
    "Source": "sources",
    "Spacing": "units",
    "StoppedError": "errors",
    "Study": "studies",
    "Tables": "tables",
    "UsageError": "errors",
    "Verdict": "stages.verify",
    "Volume": "volume",
    "Where": "stages.segment",
    "XctvolError": "errors",
    "convert": "stages.convert",
    "convert_labels": "stages.convert",
    "crop": "sources",
    "evaluate": "stages.evaluate",
    "export": "stages.export",
    "import_xctfcn": "stages.model",
    "measure": "stages.measure",
    "open_labels": "labels",
    "open_model": "model.file",
    "open_pairs": "pairs",
    "open_scores": "stages.evaluate",
    "open_source": "sources",
    "open_study": "studies",
    "open_tables": "tables",
    "open_volume": "volume",
    "parse_spacing": "units",
    "recalibrate": "stages.model",
    "repair": "stages.verify",
    "report": "stages.report",
    "segment": "stages.segment",
    "segment_again": "stages.segment",
    "study": "studies",
    "train": "stages.train",
    "verify": "stages.verify",
    "view": "stages.view",
}

__all__ = [
    "Box",
    "Dask",
    "InputError",
    "Labels",
    "Materials",
    "Model",
    "Pairs",
    "PartialError",
    "Plan",
    "PlanError",
    "RawLayout",
    "Scores",
    "Serial",
    "Source",
    "Spacing",
    "StoppedError",
    "Study",
    "Tables",
    "UsageError",
    "Verdict",
    "Volume",
    "Where",
    "XctvolError",
    "convert",
    "convert_labels",
    "crop",
    "evaluate",
    "export",
    "import_xctfcn",
    "measure",
    "open_labels",
    "open_model",
    "open_pairs",
    "open_scores",
    "open_source",
    "open_study",
    "open_tables",
    "open_volume",
    "parse_spacing",
    "recalibrate",
    "repair",
    "report",
    "segment",
    "segment_again",
    "study",
    "train",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
