"""Tables of measurements: a folder of CSV and Parquet files, finished once measure.json is there.

materials.csv      one row a material
slices.csv         one row a slice and material
interfaces.csv     one row a pair of materials
regions.parquet    one row a region; regions.csv as well where there are few enough
NAME.zarr          volume of the regions' numbers, where one was asked for
measure.json       definitions, versions and recipe; written last
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from xctvol.errors import InputError
from xctvol.files import staged
from xctvol.plan import FolderProduct

__all__ = [
    "Tables",
    "TablesProduct",
    "open_tables",
    "write_regions",
    "write_summaries",
]

Columns = Mapping[str, NDArray[Any]]

_REGIONS = "regions.parquet"
_REGIONS_CSV = "regions.csv"
_CSV = ("materials", "slices", "interfaces")
_WORDS = ("material", "material_a", "material_b")  # a name may look like a number, or like NA
_MAY_BE_EMPTY = (
    "perimeter_um",
    "tissue_fraction",
    "surface_density_per_um",
    "largest_region_fraction",
    "percolating_fraction_z",
    "percolating_fraction_y",
    "percolating_fraction_x",
    "intensity_mean",
)
_AS_WRITTEN = csv.ConvertOptions(
    column_types={
        **dict.fromkeys(_WORDS, pa.string()),
        **dict.fromkeys(_MAY_BE_EMPTY, pa.float64()),
    }
)
_SHEET = csv.WriteOptions(include_header=False, quoting_style="needed")
_MAX_CSV_ROWS = 1_000_000  # as many as a spreadsheet opens


@dataclass(frozen=True)
class Tables:
    """Finished tables; each is read when it is first looked at. Units are in column names."""

    path: Path
    record: Mapping[str, Any]
    """What measure.json says: connectivity, spacing, definitions, versions, recipe."""

    @cached_property
    def materials(self) -> pd.DataFrame:
        return self._read_csv("materials")

    @cached_property
    def slices(self) -> pd.DataFrame:
        return self._read_csv("slices")

    @cached_property
    def interfaces(self) -> pd.DataFrame:
        return self._read_csv("interfaces")

    @cached_property
    def regions(self) -> pd.DataFrame:
        return self._read_regions(None)

    def region_columns(self, *names: str) -> pd.DataFrame:
        """Some columns of `regions`; the others are not read."""
        return self._read_regions(list(names))

    @property
    def instances(self) -> Path | None:
        """The volume of region numbers, where there is one."""
        name = _volume_name(self.record)
        return None if name is None else self.path / name

    def _read_regions(self, names: list[str] | None) -> pd.DataFrame:
        file = self.path / _REGIONS
        try:
            return pd.read_parquet(file, columns=names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {file}: {error}; measure again") from error

    def _read_csv(self, name: str) -> pd.DataFrame:
        file = self.path / f"{name}.csv"
        try:
            return csv.read_csv(file, convert_options=_AS_WRITTEN).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {file}: {error}; measure again") from error


@dataclass(frozen=True)
class TablesProduct(FolderProduct):
    """A folder of tables as the product of a plan.

    `instances` is the file name of the volume of region numbers, where there is to be one.
    """

    instances: str | None = None

    verb = "measure"
    holds = "measurements"

    def files(self) -> Iterator[str]:
        yield from (*(f"{name}.csv" for name in _CSV), _REGIONS, _REGIONS_CSV)
        volumes = {self.instances}
        if self.mark.exists():
            volumes.add(_volume_name(self.record()))
        yield from (volume for volume in volumes if volume)

    def open(self) -> Tables:
        return Tables(self.path, self.whole_record())


def _volume_name(record: Mapping[str, Any]) -> str | None:
    """Name of the volume of region numbers in the folder; a damaged one leads nowhere else."""
    name = Path(str(record.get("instances") or "")).name
    return None if name in ("", "..") else name


def open_tables(path: str | Path) -> Tables:
    """The tables in a folder; raises InputError where there are none, or they are unfinished."""
    return TablesProduct(Path(path)).open()


def write_summaries(
    path: Path, *, materials: Columns, slices: Columns, interfaces: Columns
) -> None:
    """Write the tables that are small whatever the volume is."""
    for name, columns in zip(_CSV, (materials, slices, interfaces), strict=True):
        with staged(path / f"{name}.csv") as partial:
            _append_csv(partial, columns, header=True)


def write_regions(path: Path, count: int, batches: Iterable[Columns]) -> None:
    """Write the table of `count` regions, given in order, of which only a batch is in memory.

    Every batch, one at least, becomes a row group.
    """
    with staged(path / _REGIONS) as partial, ExitStack() as stack:
        sheet = stack.enter_context(staged(path / _REGIONS_CSV)) if count < _MAX_CSV_ROWS else None
        writer: pq.ParquetWriter | None = None
        for columns in batches:
            table = _arrow(columns)
            if sheet is not None:
                _append_csv(sheet, columns, header=writer is None)
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(partial, table.schema, compression="zstd")
                )
            writer.write_table(table)


def _append_csv(path: Path, columns: Columns, *, header: bool) -> None:
    """Add rows to a sheet; nothing stands where a number is not defined."""
    table = pa.table({name: pa.array(v, from_pandas=True) for name, v in columns.items()})
    with open(path, "ab") as file:
        if header:
            file.write((",".join(columns) + "\n").encode())
        csv.write_csv(table, file, _SHEET)


def _arrow(columns: Columns) -> pa.Table:
    """Names as dictionaries: a region costs one small number, not a word."""
    words = {
        name: pa.array(values, pa.string()).dictionary_encode()
        for name, values in columns.items()
        if values.dtype == np.object_
    }
    return pa.table({**columns, **words})
