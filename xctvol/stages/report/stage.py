"""The plan of `report`: one page from a scan, its labels, their measurements and scores."""

import os
from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import InputError
from xctvol.files import sha256, write_atomic
from xctvol.grid import Block, counted
from xctvol.journal import Journal, Recipe
from xctvol.labels import Labels
from xctvol.locations import local
from xctvol.plan import FileProduct, Plan, Stage, read_recipe
from xctvol.stages.report.facts import (
    made_with,
    read_scores,
    region_sizes,
    rows,
    scan_facts,
    shares,
    steps,
)
from xctvol.stages.report.page import Page, recipe_in, render
from xctvol.stages.report.plots import plot_region_sizes, plot_shares
from xctvol.stages.report.views import contact_sheet, largest_plane, orthoslices
from xctvol.tables import Tables, open_tables
from xctvol.volume import Volume

__all__ = ["report"]

_PROCESS_BYTES = 300_000_000  # interpreter, matplotlib and the encoded pictures
_BYTES_PER_PIXEL = 16  # of the largest plane, while it is read
_PLANES = 15
_PAGE_BYTES = 20_000_000  # the size of its pictures is bounded; most pages have 1 to 3 MB


def report(
    volume: Volume,
    labels: Labels,
    output: str | Path,
    *,
    tables: Tables | None = None,
    scores: str | Path | None = None,
) -> Plan[Path]:
    """Plan to write the page about a scan to `output`.

    `tables` are those of `measure` for these labels, `scores` the folder that `evaluate` wrote;
    without them the page leaves out what they would tell. Raises InputError where the parts do
    not belong together.
    """
    scores = None if scores is None else Path(scores)
    _refuse_strangers(volume, labels, tables)
    typed = local(output, "the report")
    place = Path(os.path.realpath(typed)) if typed.is_symlink() else typed  # not in its place
    product = FileProduct(place, "report", recipe_in)
    recipe = Recipe(
        "report",
        inputs={
            "scan": volume.digest,
            "labels": labels.volume.digest,
            "measurements": None if tables is None else _recipe_of(tables).digest,
            "scores": None if scores is None else _checked_digest(scores),
        },
        options={},
    )
    draw = _Draw(
        scan=volume,
        labels=labels,
        tables=None if tables is None else tables.path,
        scores=scores,
        output=product.path,
        recipe=recipe,
    )
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("draw", draw, counted([1]), Journal(product.work), unit="blocks"),),
        peak_memory=_PROCESS_BYTES + _BYTES_PER_PIXEL * largest_plane(volume),
        reads=_PLANES * largest_plane(volume) * (volume.dtype.itemsize + 1),
        writes=_PAGE_BYTES,
    )


@dataclass(frozen=True)
class _Draw:
    """Draw the page and put it in place; the recipe inside says that it is finished."""

    scan: Volume
    labels: Labels
    tables: Path | None
    scores: Path | None
    output: Path
    recipe: Recipe

    def __call__(self, _: Block) -> None:
        tables = None if self.tables is None else open_tables(self.tables)
        page = Page(
            title=self.scan.path.stem,
            made_with=made_with(),
            recipe=self.recipe,
            facts=scan_facts(self.scan),
            materials=self.labels.materials,
            ortho=orthoslices(self.scan, self.labels),
            rows=rows(self.labels, tables, self.scores) if tables else (),
            share_plot=self._shares(tables),
            size_plot=self._sizes(tables),
            sheet=contact_sheet(self.scan, self.labels),
            steps=tuple(steps(*self._history(tables))),
        )
        write_atomic(self.output, render(page).encode())

    def _shares(self, tables: Tables | None) -> str:
        if tables is None or self.scan.shape[0] < 2:
            return ""
        return plot_shares(*shares(self.labels, tables), tuple(self.labels.materials))

    def _sizes(self, tables: Tables | None) -> str:
        sizes = {} if tables is None else region_sizes(self.labels, tables)
        return plot_region_sizes(sizes) if sizes else ""

    def _history(self, tables: Tables | None) -> list[Recipe | None]:
        made = [self.scan.recipe]
        if self.labels.volume.path != self.scan.path:
            made.append(self.labels.volume.recipe)
        if tables is not None:
            made.append(_recipe_of(tables))
        return made


def _recipe_of(tables: Tables) -> Recipe:
    return read_recipe(tables.path, tables.record.get("recipe"))


def _checked_digest(scores: Path) -> str:
    read_scores(scores)  # refuse now, not when the page is drawn
    return sha256(scores / "scores.csv")


def _refuse_strangers(volume: Volume, labels: Labels, tables: Tables | None) -> None:
    if labels.volume.shape != volume.shape:
        raise InputError(
            f"{labels.volume.path} has the shape {labels.volume.shape} but {volume.path} has "
            f"{volume.shape} (z, y, x): these labels are of another scan"
        )
    if tables is not None and _recipe_of(tables).inputs.get("labels") != labels.volume.digest:
        raise InputError(
            f"{tables.path} holds measurements of other labels than {labels.volume.path}; "
            "measure these labels, or name the folder with their measurements"
        )
