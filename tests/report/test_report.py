import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from xctvol.errors import InputError, PlanError
from xctvol.stages.report import report
from xctvol.stages.report.facts import read_scores
from xctvol.stages.report.page import recipe_in
from xctvol.units import Spacing


class Page(HTMLParser):
    """Addresses, words and numbers of a page; numbers exactly and as they are shown."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.addresses, self.words, self.tags = [], [], []
        self.numbers, self.shown = [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in {"src", "href", "srcset", "action", "data"}]
        self.numbers += [float(v) for k, v in attrs if (tag, k) == ("data", "value")]

    def handle_data(self, data):
        self.words += data.split()
        if self.tags[-1:] == ["data"] and len(self.shown) < len(self.numbers):
            self.shown.append(data.replace("\N{NARROW NO-BREAK SPACE}", ""))


def plan(scan, output):
    return report(scan.volume, scan.labels, output, tables=scan.tables, scores=scan.scores)


@pytest.fixture(scope="session")
def path(scan, tmp_path_factory):
    return plan(scan, tmp_path_factory.mktemp("report") / "quercus.html").run()


@pytest.fixture(scope="session")
def page(path):
    return Page(path)


def test_the_page_asks_nothing_of_the_network(page):
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.text
    assert not re.search(r"https?:|@import|//[a-z]+\.[a-z]", page.text)
    assert all(a.startswith(("data:image/webp;base64,", "#")) for a in page.addresses)
    assert all(u.startswith("#") for u in re.findall(r"url\(['\"]?([^)]*)\)", page.text))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_numbers_of_the_page_are_those_of_the_tables(page, scan):
    f1 = [[0.91]] * 3 + [[]]
    columns = ["voxels", "volume_um3", "fraction", "surface_um2", "regions"]
    table = scan.tables.materials[columns].to_numpy()
    expected = np.concatenate([[*row, *f] for row, f in zip(table, f1, strict=True)])
    np.testing.assert_array_equal(page.numbers, expected)
    shown = [float(text.removesuffix(" %")) for text in page.shown]
    scales = ([1, 1, 100, 1, 1, 1] * 4)[: len(shown)]
    np.testing.assert_allclose(shown, np.multiply(page.numbers, scales), rtol=0.005, atol=0.005)


def test_the_page_tells_what_the_scan_is(page):
    text = " ".join(page.words)
    for fact in (
        "24 \N{MULTIPLICATION SIGN} 60 \N{MULTIPLICATION SIGN} 80",
        "1.3 \N{MULTIPLICATION SIGN} 0.65 \N{MULTIPLICATION SIGN} 0.65 µm",
        "31.2 \N{MULTIPLICATION SIGN} 39 \N{MULTIPLICATION SIGN} 52 µm",
        "180 to 40000 of uint16",
        "slice_0000.tif \N{HORIZONTAL ELLIPSIS} slice_0098.tif (99)",
        "leaf.safetensors",
        "epidermis, mesophyll, air space, vein <&$x$>",
    ):
        assert fact in text


def test_names_cannot_become_markup(page):
    assert "vein <&" not in page.text


def test_every_picture_has_a_grey_image_and_an_overlay(page):
    assert sum(a.startswith("data:") for a in page.addresses) == 2 * (3 + 12)


def test_a_finished_page_knows_its_recipe_and_is_not_drawn_again(scan, path):
    again = plan(scan, path)
    assert recipe_in(path) == again.recipe.to_json()
    before = path.stat().st_mtime_ns
    assert again.finished()
    assert again.run() == path
    assert path.stat().st_mtime_ns == before
    assert [file.name for file in path.parent.iterdir()] == ["quercus.html"]


def test_the_same_input_gives_the_same_bytes(scan, path, tmp_path):
    assert plan(scan, tmp_path / "again.html").run().read_bytes() == path.read_bytes()


def test_other_measurements_ask_for_overwrite(scan, unmeasured, tmp_path):
    output = tmp_path / "quercus.html"
    plan(unmeasured, output).run()
    with pytest.raises(PlanError, match=r"started with other measurements, scores; .*--overwrite"):
        plan(scan, output).run()
    assert plan(scan, output).overwrite().run() == output
    assert plan(scan, output).finished()


def test_without_measurements_the_page_has_pictures_and_says_what_is_missing(unmeasured, tmp_path):
    page = Page(plan(unmeasured, tmp_path / "quercus.html").run())
    assert page.numbers == []
    assert "svg" not in page.tags
    assert "measured yet" in " ".join(page.words)
    assert len(page.addresses) == 2 * (3 + 12)


def test_labels_of_no_scan_are_shown_alone(scan, tmp_path):
    alone = replace(scan, volume=scan.labels.volume, scores=None)
    page = Page(plan(alone, tmp_path / "tissue.html").run())
    assert "fieldset" not in page.tags
    assert sum(a.startswith("data:") for a in page.addresses) == 3 + 12


def test_without_scores_there_is_no_column_of_f1(scan, tmp_path):
    page = Page(plan(replace(scan, scores=None), tmp_path / "quercus.html").run())
    assert "F1" not in page.words
    assert len(page.numbers) == 4 * 5


@pytest.mark.parametrize(
    "content", ["thesis", '<meta name="xctvol-recipe" content="[1]">', "", "\0" * 5_000_000]
)
def test_what_is_no_report_is_never_touched(scan, tmp_path, content):
    output = tmp_path / "thesis.html"
    output.write_text(content)
    for attempt in (plan(scan, output), plan(scan, output).overwrite()):
        with pytest.raises(PlanError, match="is no report of xctvol"):
            attempt.run()
    assert output.read_text() == content


def test_a_link_is_written_through(unmeasured, tmp_path):
    (tmp_path / "big").mkdir()
    link = tmp_path / "a.html"
    link.symlink_to(tmp_path / "big" / "b.html")
    assert plan(unmeasured, link).run().read_bytes() == link.read_bytes()
    assert link.is_symlink()
    assert plan(unmeasured, link).finished()


def test_a_folder_is_no_report(scan, tmp_path):
    with pytest.raises(PlanError, match="is no report of xctvol"):
        plan(scan, tmp_path).run()


def test_labels_of_another_scan_are_refused(scan, tmp_path):
    other = replace(scan.volume, levels=(replace(scan.volume.levels[0], shape=(24, 60, 81)),))
    with pytest.raises(InputError, match=r"\(24, 60, 80\).*\(24, 60, 81\).*of another scan"):
        report(other, scan.labels, tmp_path / "quercus.html")


def test_measurements_of_other_labels_are_refused(scan, tmp_path):
    volume = replace(scan.labels.volume, own={}, spacings=(Spacing(9, 9, 9),))
    with pytest.raises(InputError, match="measurements of other labels"):
        plan(replace(scan, labels=replace(scan.labels, volume=volume)), tmp_path / "quercus.html")


@pytest.mark.parametrize(
    "content", [b"model,material\na,air\n", b"material,f1\nair,good\n", b"\xff\xfe", b"f1\n0.5\n"]
)
def test_scores_that_cannot_be_read_are_refused_before_anything_is_drawn(scan, tmp_path, content):
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read the scores in .*name the folder"):
        plan(replace(scan, scores=tmp_path), tmp_path / "quercus.html")


def test_missing_scores_are_refused(scan, tmp_path):
    with pytest.raises(InputError, match=r"none.scores\.csv"):
        plan(replace(scan, scores=tmp_path / "none"), tmp_path / "quercus.html")


def test_scores_of_several_models_are_summed_up(scan):
    score = read_scores(scan.scores)["epidermis"]
    assert (score.mean, score.low, score.high) == pytest.approx((0.91, 0.9, 0.92))


def browse(path, profile):
    """What a browser says about a page: its console and the text it shows."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium or Chrome to open the page with")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom"]
    command = [browser, *options, path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line for line in run.stderr.splitlines() if "CONSOLE" in line], run.stdout


def test_a_browser_opens_the_page_without_a_complaint(path, tmp_path):
    console, shown = browse(path, tmp_path / "profile")
    assert console == []
    assert "How this was made" in shown


def test_a_browser_would_complain_of_what_the_policy_forbids(path, tmp_path):
    planted = tmp_path / "planted.html"
    text = path.read_text(encoding="utf-8")
    planted.write_text(text.replace("</header>", "</header><script>1</script>"), encoding="utf-8")
    console, _ = browse(planted, tmp_path / "profile")
    assert "Content Security Policy" in "".join(console)
