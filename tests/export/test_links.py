"""Outputs that are links: what they lead to is written, and they stay."""

import pytest

from xctvol.errors import PlanError
from xctvol.grid import Box
from xctvol.stages.export import export

PART = Box((0, 0, 0), (6, 20, 30))


@pytest.fixture
def link(tmp_path):
    """Makes a link to a place on what may be another disk."""
    (tmp_path / "big").mkdir()

    def make(name, target):
        (tmp_path / name).symlink_to(tmp_path / "big" / target)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("name", "target"),
    [("a.tif", "a.tif"), ("a.nrrd", "other.data"), ("a.glb", "a.glb"), ("slices", "images")],
)
def test_a_link_is_written_through(scan, link, tmp_path, name, target):
    place = link(name, target)
    export(scan.labels, place, box=PART).run()
    assert place.is_symlink()
    assert [entry.name for entry in (tmp_path / "big").iterdir()] == [target]
    assert {entry.name for entry in tmp_path.iterdir()} == {name, "big"}
    before = place.stat().st_mtime_ns
    assert export(scan.labels, place, box=PART).finished()
    assert place.stat().st_mtime_ns == before


def test_what_a_link_leads_to_is_not_replaced_unasked(scan, link, tmp_path):
    place = link("a.tif", "thesis.tif")
    (tmp_path / "big" / "thesis.tif").write_bytes(b"years of work")
    with pytest.raises(PlanError, match=r"big/thesis\.tif exists and is no TIFF stack"):
        export(scan.labels, place).overwrite().run()
    assert place.read_bytes() == b"years of work"


def test_a_link_that_leads_nowhere_but_to_itself_is_replaced(scan, tmp_path):
    place = tmp_path / "a.tif"
    place.symlink_to(place)
    export(scan.labels, place).run()
    assert place.is_file()
