"""Labels, and what measures them: a library of measure.py, which does nothing by itself.

Each peer gives what its columns say, from an array in memory.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from xctvol.labels import Labels, open_labels
from xctvol.materials import Materials
from xctvol.sources.phantom import Phantom
from xctvol.stages.measure import measure
from xctvol.units import Spacing
from xctvol.volume import Image, default_codec, halve_labels, image_label

SPACING = Spacing(0.65, 0.65, 0.65)
OURS, YARDSTICK = "xctvol measure", "cc3d, labels alone"


def blobs(side: int) -> np.ndarray:
    """Smooth blobs that fill 30 %."""
    noise = ndimage.gaussian_filter(_noise(0, side), 2)
    return (noise > np.quantile(noise, 0.7)).astype(np.uint8)


def classes(side: int) -> np.ndarray:
    """Six classes in thin layers with 0.2 % salt: four of five cells hold a border."""
    noise = ndimage.gaussian_filter(_noise(1, side), 2)
    values = np.digitize(noise, np.quantile(noise, np.arange(1, 6) / 6)).astype(np.uint8) + 1
    random = np.random.default_rng(2)
    salt = random.random(values.shape) < 0.002
    values[salt] = random.integers(1, 7, salt.sum())
    return values


def leaf(side: int) -> np.ndarray:
    """The six materials of the phantom."""
    values = np.empty((side,) * 3, np.uint8)
    Phantom((side,) * 3, Spacing(2, 2, 2)).labels_into(0, side, values)
    return values


VOLUMES = {"blobs": blobs, "classes": classes, "leaf": leaf}


def _noise(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((side,) * 3, np.float32)


def write(path: Path, values: np.ndarray) -> Labels:
    image = Image(path, values.shape, values.dtype, default_codec(values.dtype))
    for slab in image.layout.slabs:
        image.write(slab.write.start[0], values[slab.write.slices].copy(), halve_labels)
    return finish(image, Materials.numbered([int(v) for v in np.unique(values) if v]))


def finish(image: Image, materials: Materials) -> Labels:
    own = {"materials": materials.to_json()}
    image.finish(SPACING, {"image-label": image_label(materials, None)}, own)
    return open_labels(image.path)


def ours(values: np.ndarray) -> None:
    """Everything, from the files of a volume to the files of tables."""
    folder = Path(tempfile.gettempdir()) / f"measure-{os.getpid()}"
    labels = folder / "labels.zarr"
    if not labels.exists():
        write(labels, values)
    shutil.rmtree(folder / "tables", ignore_errors=True)
    measure(open_labels(labels), folder / "tables").run()


def ours_in_memory(values: np.ndarray) -> None:
    """All columns of all tables from an array: one block, as every worker measures it."""
    from xctvol.grid import Block, Box
    from xctvol.stages.measure import properties
    from xctvol.stages.measure.block import HALO, PADDING, Subject, measure_block
    from xctvol.stages.measure.surface import cell_table
    from xctvol.stages.measure.totals import total

    around = np.pad(values, list(zip(HALO, PADDING, strict=True)))
    core, subject = Box.whole(values.shape), Subject(values.shape, 26)
    materials = Materials.numbered(range(1, int(values.max()) + 1))
    measures, _ = measure_block(around, None, core, cell_table(SPACING), subject)
    measures = measures.of(materials.labels)
    found = measures, np.empty((0, 3), np.int64)
    totals = total(subject, materials.labels, [Block(0, core, core)], lambda _: found)
    shape = values.shape
    properties.region_columns(measures.closed, 1, shape, SPACING, materials)
    properties.material_columns(totals, shape, SPACING, materials, materials.names)
    properties.slice_columns(totals, SPACING, materials)
    properties.interface_columns(totals, SPACING, materials)


def skimage(values: np.ndarray) -> None:
    from skimage.measure import label, regionprops_table

    regions = label(values, connectivity=3, background=0)
    names = ("num_pixels", "bbox", "centroid", "inertia_tensor_eigvals", "axis_major_length")
    names += ("axis_minor_length", "equivalent_diameter_area", "extent", "euler_number")
    regionprops_table(regions, properties=names, spacing=SPACING.zyx)


def cc3d_alone(values: np.ndarray) -> None:
    import cc3d

    cc3d.connected_components(values, connectivity=26, out_dtype=np.uint32)


def xctvol_alone(values: np.ndarray) -> None:
    from xctvol.stages.measure.labelling import label_block

    label_block(values, 26)


def cc3d(values: np.ndarray) -> None:
    import cc3d

    regions = cc3d.connected_components(values, connectivity=26)
    cc3d.statistics(regions)
    cc3d.contacts(regions, connectivity=26)


def scipy(values: np.ndarray) -> None:
    for value in range(1, int(values.max()) + 1):
        regions, count = ndimage.label(values == value, np.ones((3, 3, 3)))
        ndimage.find_objects(regions)
        ndimage.center_of_mass(regions > 0, regions, range(1, count + 1))


def simpleitk(values: np.ndarray) -> None:
    import SimpleITK as sitk  # noqa: N813 - as its own documents call it

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for value in range(1, int(values.max()) + 1):
        mask = sitk.GetImageFromArray((values == value).astype(np.uint8))
        regions = sitk.ConnectedComponent(mask, True)
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.ComputePerimeterOn()
        statistics.Execute(regions)


def dask_image(values: np.ndarray) -> None:
    import dask
    import dask.array
    from dask_image.ndmeasure import label

    with dask.config.set(scheduler="single-threaded"):
        for value in range(1, int(values.max()) + 1):
            chunks = dask.array.from_array(values == value, chunks=128)
            regions, count = label(chunks, structure=np.ones((3, 3, 3)))
            dask.compute(regions, count)


PEERS: dict[str, tuple[Callable[[np.ndarray], None], str]] = {
    OURS: (ours, "all tables, from files to files"),
    YARDSTICK: (cc3d_alone, "labels only, from an array"),
    "xctvol, labels alone": (xctvol_alone, "labels only, from an array"),
    "xctvol, one block in memory": (ours_in_memory, "all columns, from an array"),
    "scikit-image label + regionprops_table": (skimage, "volume, box, centroid, inertia, Euler"),
    "cc3d + statistics + contacts": (cc3d, "volume, box, centroid, faces of regions"),
    "SimpleITK, a material at a time": (simpleitk, "volume, box, centroid, shape, Crofton surface"),
    "scipy label, a material at a time": (scipy, "box, centroid"),
    "dask-image label, a material at a time": (dask_image, "labels only"),
}
