import re
import xml.etree.ElementTree as ET
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xctvol.materials import Materials
from xctvol.stages.report.plots import _mean_of_neighbours, plot_region_sizes, plot_shares

NAMES = {"epidermis": "#1b5e20", "mesophyll": "#8bc34a", "air": "#ffffff", "vein <&$x$>": "#6d4c41"}
MATERIALS = Materials.from_json(
    [{"name": n, "mask": i, "color": c} for i, (n, c) in enumerate(NAMES.items())]
)


@cache
def shares(count=50):
    rng = np.random.default_rng(1)
    return plot_shares(np.arange(count) * 0.65, rng.uniform(0, 0.25, (4, count)), MATERIALS)


@cache
def sizes():
    rng = np.random.default_rng(2)
    return plot_region_sizes({m: rng.lognormal(5, 2, 40) for m in MATERIALS})


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.depth, self.words = [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.depth += 1

    def handle_endtag(self, _):
        self.depth -= 1

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data.strip())


@pytest.mark.parametrize("plot", [shares, sizes])
def test_a_plot_is_one_element_that_stands_alone(plot):
    text = plot()
    svg = Elements(text)
    assert svg.tags[0] == "svg"
    assert svg.depth == 0
    assert not {"style", "metadata", "script", "image"} & set(svg.tags)
    assert not re.search(r"https?:|xmlns", text)
    names = {value for name, value in svg.attributes if name == "id"}
    references = {value for name, value in svg.attributes if name == "href"}
    references |= set(re.findall(r"url\((#\w+)\)", text))
    assert {r.removeprefix("#") for r in references} <= names


@pytest.mark.parametrize("plot", [shares, sizes])
def test_a_plot_takes_ink_and_font_from_the_page(plot):
    text = plot()
    assert "fill: var(--muted)" in text
    assert "stroke: var(--ink)" in text
    assert "DejaVu" not in text
    colors = set(re.findall(r"#[0-9a-f]{6}\b", text))
    assert colors <= {material.color for material in MATERIALS}


def test_every_material_has_its_color():
    for material in MATERIALS:
        assert f"fill: {material.color}" in shares()
        assert f"fill: {material.color}" in sizes()


@pytest.mark.parametrize("plot", [shares, sizes])
def test_the_same_data_gives_the_same_bytes(plot):
    assert plot() == plot.__wrapped__()


def test_names_are_text_whatever_they_hold():
    assert "vein &lt;&amp;$x$&gt;" in sizes()
    assert "vein <&$x$>" in Elements(sizes()).words


NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
LIKE_MARKUP = (
    "font: 9px x", "font-family: a", "$x_1$", "#0a0b0c", "</svg>", "<style>a{}</style>b",
    "xlink:href", "<metadata>z</metadata>", '<g id="x">', "<!-- a --><![CDATA[", "&amp; \\1 \\g<0>",
    "name-of-material-0",
)  # fmt: skip  # words


@settings(max_examples=5)  # each draws a figure
@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6, unique=True))
@example([*LIKE_MARKUP])
@example(["\u6c14\u5b54", "a\nb", "a\x00b", "a\uffffb", "\u200d\u0915"])  # no font has all
def test_any_name_is_shown_in_a_plot_that_is_well_formed(names):
    table = Materials.from_json([{"name": name, "mask": i} for i, name in enumerate(names)])
    text = plot_region_sizes({material: np.arange(1.0, 9.0) for material in table})
    found = ET.fromstring(text)
    shown = [element.text for element in found.iter("text")]
    for name in names:
        assert NO_XML.sub("\ufffd", " ".join(name.split())) in shown


def test_axes_name_their_units():
    assert {"z (µm)", "share of slice (%)"} <= set(Elements(shares()).words)
    assert "z (mm)" in Elements(shares(5000)).words
    assert "volume of a region (µm³)" in Elements(sizes()).words


def test_a_histogram_counts_every_region():
    text = plot_region_sizes({MATERIALS[0]: np.array([10.0, 11.0, 1000.0, 1e5])})
    assert text.count(f"fill: {MATERIALS[0].color}") >= 2
    assert set("012") <= set("".join(Elements(text).words))


def test_regions_of_one_size_have_a_histogram():
    assert plot_region_sizes({MATERIALS[0]: np.full(6, 12.0)})


@pytest.mark.parametrize("count", [2, 399, 400, 401, 1000, 2561])
def test_long_scans_are_drawn_as_means(count):
    z, share = np.arange(count, dtype=float), np.linspace(0, 1, 2 * count).reshape(2, count)
    short_z, short = _mean_of_neighbours(z, share)
    assert len(short_z) == short.shape[1] <= 400
    width = -(-count // 400)
    np.testing.assert_allclose(short[:, 0], share[:, :width].mean(axis=1))
    weights = np.minimum(width, count - width * np.arange(len(short_z)))
    np.testing.assert_allclose(np.average(short, axis=1, weights=weights), share.mean(axis=1))
