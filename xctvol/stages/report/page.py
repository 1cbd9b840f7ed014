"""The page: one HTML file that holds everything it shows and asks nothing of the network.

Its content security policy forbids any request and any script; the choice between scan and
labels is plain CSS. The same input gives the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import jinja2

from xctvol.journal import Recipe
from xctvol.materials import Materials
from xctvol.stages.report import quantities
from xctvol.stages.report.facts import Fact, Row, Step
from xctvol.stages.report.views import View

__all__ = ["Page", "recipe_in", "render"]

_RECIPE = "xctvol-recipe"
_HEAD_CHARACTERS = 1 << 20
_ORTHO_WIDTH, _ORTHO_HEIGHT = 1100, 1000  # CSS pixels


@dataclass(frozen=True)
class Page:
    """All that the page shows. Plots are SVG elements, empty where there is nothing to plot."""

    title: str
    made_with: str
    recipe: Recipe
    facts: tuple[Fact, ...]
    materials: Materials
    ortho: tuple[View, View, View]
    """The planes xy, xz and yz."""
    rows: tuple[Row, ...]
    share_plot: str
    size_plot: str
    sheet: tuple[View, ...]
    steps: tuple[Step, ...]


def render(page: Page) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "count": quantities.count,
        "length": quantities.length,
    }
    xy, _, yz = page.ortho
    widest = max(page.ortho, key=lambda view: view.width_um)
    across, down = xy.width_um + yz.width_um, xy.height_um + yz.width_um
    return environment.get_template("template.html").render(
        vars(page)
        | {
            "recipe": json.dumps(page.recipe.to_json(), sort_keys=True),
            "recipe_name": _RECIPE,
            "areas": quantities.unit_of((row.surface_um2 for row in page.rows), 2),
            "volumes": quantities.unit_of((row.volume_um3 for row in page.rows), 3),
            "scored": any(row.f1 for row in page.rows),
            "widest": widest,
            "bar_um": quantities.scale_bar(widest.width_um),
            "ortho_width": round(min(_ORTHO_WIDTH, _ORTHO_HEIGHT * across / down)),
        }
    )


def recipe_in(path: Path) -> Mapping[str, object] | None:
    """The recipe in the head of a page, as JSON, or None where the file is no such page."""
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD_CHARACTERS)
    finder = _FindRecipe()
    finder.feed(head)
    try:
        found = json.loads(finder.content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class _FindRecipe(HTMLParser):
    content = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "meta" and attributes.get("name") == _RECIPE:
            self.content = attributes.get("content") or ""
