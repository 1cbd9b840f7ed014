"""Measuring labels: volumes, surfaces, regions and interfaces, block by block, equal to in-memory.

marks                          finding the few voxels of a row that need a closer look
labelling                      components of one block
runs, cells, profile           loops over voxels; exact integers
columns, surface               what they add up: rows of a table, and tables of cells
components, ambiguous          what one block cannot know alone
block                          all of these for one block
merge, totals, numbering       blocks added up, regions joined and put in order
properties, definitions        integers to columns in micrometres
options, blocking              what is asked for, and how the volume is divided
scratch, tasks, joining, stage files, blocks and the plan
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xctvol.locations import local
from xctvol.plan import Plan
from xctvol.stages.measure.options import Options

if TYPE_CHECKING:
    from xctvol.labels import Labels
    from xctvol.tables import Tables
    from xctvol.volume import Volume

__all__ = ["measure"]


def measure(
    labels: "Labels",
    output: str | Path,
    *,
    connectivity: Literal[6, 18, 26] = 26,
    materials: Sequence[str] = (),
    tissue: Sequence[str] = (),
    min_volume_um3: float = 0.0,
    intensity: "Volume | None" = None,
    instances: str | None = None,
) -> Plan["Tables"]:
    """Plan the tables of materials, slices, interfaces and regions in the folder `output`.

    Regions are voxels of one material connected through faces (6), edges (18) or corners (26),
    numbered as `skimage.measure.label` numbers them. The tables are the same bytes for any
    executor and number of workers.

    Only `materials` are measured, or all where none are named. `tissue` are those whose volume
    together tissue fractions and surface densities refer to, by default all that are measured.
    Regions below `min_volume_um3` are left out of the tables of regions. With `intensity`, a volume
    of the same voxels, the grey values of regions are measured as they are stored in it. With
    `instances`, the numbers of the regions are written as a volume `output/INSTANCES.zarr`.

    Raises UsageError for options that make no sense, InputError where the volume does not hold
    whole numbers.
    """
    from xctvol.stages.measure.stage import measure_plan  # numba and pandas take seconds to import

    options = Options(
        connectivity, tuple(materials), tuple(tissue), min_volume_um3, intensity, instances
    )
    return measure_plan(labels, local(output, "the folder of tables"), options)
