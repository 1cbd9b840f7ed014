"""Measuring labels: volumes, surfaces, regions and interfaces, block by block, equal to in-memory.

surface, sums, profile     loops over voxels; exact integers
components, ambiguous      what one block cannot know alone
block                      all of these for one block
merge, totals              blocks added up
properties, definitions    integers to columns in micrometres
tasks, stage               files, blocks and the plan
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xctvol.errors import UsageError
from xctvol.plan import Plan

if TYPE_CHECKING:
    from xctvol.labels import Labels
    from xctvol.tables import Tables

__all__ = ["measure"]


def measure(
    labels: "Labels", output: str | Path, *, connectivity: Literal[6, 18, 26] = 26
) -> Plan["Tables"]:
    """Plan the tables of materials, slices, interfaces and regions in the folder `output`.

    Regions are voxels of one material connected through faces (6), edges (18) or corners (26),
    numbered as `skimage.measure.label` numbers them. The tables are the same bytes for any
    executor and number of workers. Raises UsageError for another connectivity, InputError where
    the volume does not hold whole numbers.
    """
    from xctvol.stages.measure.stage import measure_plan  # numba and pandas take seconds to import

    if connectivity not in (6, 18, 26):
        raise UsageError(
            f"{connectivity} is not a connectivity in three dimensions: use 6 (faces), "
            "18 (faces and edges) or 26 (faces, edges and corners)"
        )
    return measure_plan(labels, Path(output), connectivity)
