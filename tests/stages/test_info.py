"""What a path holds, said in words."""

import numpy as np
import tifffile

from xctvol.journal import Recipe
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.evaluate.product import ScoresProduct
from xctvol.stages.export import export
from xctvol.stages.info import describe
from xctvol.units import Spacing


def test_a_folder_of_scores(tmp_path):
    product = ScoresProduct(tmp_path / "scores")
    product.path.mkdir()
    (product.path / "scores.csv").touch()
    product.finish({"macro_f1": {"leaf": 0.91234}}, Recipe("evaluate", {}, {"together": False}))
    facts = describe(product.path)
    assert facts["scores"] == str(product.path)
    assert facts["macro-F1"] == ["leaf: 0.9123"]
    assert facts["files"] == 1
    assert facts["made by"] == "xctvol evaluate: together False"


def test_a_folder_of_slices(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    scan = open_source(tmp_path / "a.tif", spacing=Spacing(2.0, 2.0, 2.0))
    volume = convert(scan, tmp_path / "a.zarr").run()
    export(volume, tmp_path / "slices", slices=[0, 2]).run()
    facts = describe(tmp_path / "slices")
    assert facts["slices"] == str(tmp_path / "slices")
    assert facts["files"] == 2
    assert facts["made by"].startswith("xctvol export: format folder")
