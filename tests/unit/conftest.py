"""A toy product that runs through everything a plan promises.

It adds up the numbers of its blocks in a folder. Every execution of a block leaves a line in
`attempts`, beside the product, so the tests count work that was really done.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from xctvol.errors import PartialError, PlanError
from xctvol.files import read_json, remove_tree, write_json
from xctvol.grid import Grid
from xctvol.journal import Journal, Recipe
from xctvol.plan import Plan, Stage, read_recipe, report

GRID = Grid((12, 4, 4), (2, 4, 4))


@dataclass(frozen=True)
class Sums:
    """The product: a folder with one number a block, and `sum.json`, written last."""

    path: Path

    @property
    def work(self):
        return self.path / ".work"

    def made_by(self):
        if self.path.is_file():
            raise PlanError(f"{self.path} is not a sum")
        if not (self.path / "sum.json").exists():
            return None
        return read_recipe(self.path, read_json(self.path / "sum.json")["made_by"])

    def open(self):
        return read_json(self.path / "sum.json")["sum"]

    def remove(self):
        (self.path / "sum.json").unlink(missing_ok=True)
        remove_tree(self.path / "numbers")


@dataclass(frozen=True)
class Square:
    """Square a block's number; the disk is full at the blocks in the folder `full`."""

    path: Path

    def __call__(self, block):
        with open(self.path.with_name("attempts"), "a") as file:
            file.write(f"{block.index}\n")
        write_json(self.path / "numbers" / f"{block.index}.json", block.index)
        if (self.path.with_name("full") / str(block.index)).exists():
            raise PartialError("the disk is full")
        report(1, "half")
        return block.index**2


@dataclass(frozen=True)
class Conclude:
    product: Sums
    recipe: Recipe
    journal: Journal

    def __call__(self):
        with open(self.product.path.with_name("concluded"), "a") as file:
            file.write("plan\n")
        total = sum(self.journal.results().values())
        write_json(self.product.path / "sum.json", {"sum": total, "made_by": self.recipe.to_json()})


def make(path, weight=1, speed="slow", **bounds):
    product = Sums(path)
    recipe = Recipe("add", {"scan": "leaf"}, {"weight": weight, "speed": speed})
    journal = Journal(product.work / "square")
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("square", Square(path), GRID, journal),),
        conclude=Conclude(product, recipe, journal),
        **({"peak_memory": 1000, "reads": 2_000_000, "writes": 6_000} | bounds),
    )


@pytest.fixture
def sum_of_squares():
    """Makes plans for six blocks, whose squares they add up."""
    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "squares"


@pytest.fixture
def attempts(tmp_path) -> Callable[[], Counter]:
    def attempts():
        file = tmp_path / "attempts"
        return Counter(int(line) for line in file.read_text().split()) if file.exists() else {}

    return attempts


@pytest.fixture
def full(tmp_path):
    """Says at which blocks the disk is full from now on."""

    def full(*blocks):
        remove_tree(tmp_path / "full")
        for block in blocks:
            (tmp_path / "full").mkdir(exist_ok=True)
            (tmp_path / "full" / str(block)).touch()

    return full
