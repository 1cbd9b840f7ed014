"""Surfaces in a GLB file, as another library reads it."""

import subprocess
import sys

import numpy as np
import pytest
import trimesh
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PlanError, UsageError
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.stages.export import export, glb, solid
from xctvol.units import Spacing
from xctvol.volume import halve_labels, image_label

RADIUS_UM = 30.0
CENTER_UM = np.array([40.0, 45.0, 36.0])  # z, y, x
SPACING = Spacing(2.0, 1.5, 1.0)
CORNER = Box((0, 0, 0), (4, 4, 4))


@pytest.fixture(scope="module")
def ball(tmp_path_factory, write_volume, materials):
    """A ball of material 3 with a smaller one of material 7 inside, voxels of three sizes."""
    path = tmp_path_factory.mktemp("ball") / "ball.zarr"
    shape = (41, 61, 75)
    axes = [np.arange(n) * s for n, s in zip(shape, SPACING.zyx, strict=True)]
    far = np.sqrt(
        sum((a - c) ** 2 for a, c in zip(np.meshgrid(*axes, indexing="ij"), CENTER_UM, strict=True))
    )
    voxels = np.where(far < RADIUS_UM / 2, 7, np.where(far < RADIUS_UM, 3, 0)).astype(np.uint8)
    ome = {"image-label": image_label(materials, "../")}
    write_volume(path, voxels, halve_labels, ome, {"materials": materials.to_json()}, SPACING)
    return open_labels(path)


def meshes(path):
    """By name; trimesh keeps equal places apart as they are in the file."""
    return trimesh.load(path, process=False).geometry


def test_surfaces_are_closed_face_outwards_and_have_the_volume_of_their_material(ball, tmp_path):
    found = meshes(export(ball, tmp_path / "a.glb").run())
    inner = 4 / 3 * np.pi * (RADIUS_UM / 2) ** 3
    outer = 4 / 3 * np.pi * RADIUS_UM**3 - inner
    areas = np.pi * RADIUS_UM**2 * np.array([4 + 1, 1])
    for material, volume, area in zip(ball.materials, (outer, inner), areas, strict=True):
        mesh = found[material.name]
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert mesh.volume == pytest.approx(volume, rel=0.03)
        assert mesh.area == pytest.approx(area, rel=0.03)
    center = found[ball.materials.names[1]].center_mass
    np.testing.assert_allclose(center, CENTER_UM[::-1], atol=0.1)


def test_normals_point_away_and_colours_are_those_of_the_materials(ball, tmp_path):
    found = meshes(export(ball, tmp_path / "a.glb").run())
    vein = found[ball.materials.names[1]]
    away = vein.vertices - CENTER_UM[::-1]
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", away, vein.vertex_normals).min() > 0.8
    linear = np.array(vein.visual.material.baseColorFactor[:3]) / 255
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(255 * shown, ball.materials[1].rgb, atol=3)


def test_smoothing_hides_the_voxels(ball, tmp_path):
    """Of a plane's steps: normals of neighbouring faces differ by little."""
    vein = meshes(export(ball, tmp_path / "a.glb").run())[ball.materials.names[1]]
    assert np.degrees(np.median(vein.face_adjacency_angles)) < 12


def test_large_labels_are_drawn_coarser_and_in_the_same_place(ball, tmp_path, monkeypatch):
    monkeypatch.setattr("xctvol.stages.export.stage.MOST_VOXELS", 41 * 61 * 75 // 5)
    plan = export(ball, tmp_path / "a.glb")
    assert "surfaces of 21 x 31 x 38 voxels" in str(plan)
    mesh = meshes(plan.run())[ball.materials.names[1]]
    fine = meshes(export(ball, tmp_path / "fine.glb", level=0).run())[ball.materials.names[1]]
    assert len(mesh.faces) < len(fine.faces) / 3
    np.testing.assert_allclose(mesh.center_mass, fine.center_mass, atol=0.6)
    with pytest.raises(PlanError, match="started with other most_voxels"):
        export(ball, tmp_path / "a.glb", level=0).run()
    part = export(ball, tmp_path / "part.glb", box=Box((0, 0, 0), (40, 60, 74)))
    assert "surfaces of 20 x 30 x 37 voxels" in str(part)


def test_a_pyramid_has_the_level_to_draw_from(scan, monkeypatch):
    monkeypatch.setattr(solid, "MOST_VOXELS", 75 * 20 * 530)
    assert solid.level_for_surfaces(scan.labels.volume) == 1


def test_a_part_is_closed_where_it_is_cut(ball, tmp_path):
    path = tmp_path / "a.glb"
    command = ["export", ball.volume.path, path, "--roi", "0:20,,", "--material", "tissue", "-q"]
    run = CliRunner().invoke(app, list(map(str, command)))
    assert run.exit_code == 0, run.stderr
    ((name, mesh),) = meshes(path).items()
    assert name == "tissue"
    assert mesh.is_watertight
    assert mesh.bounds[1, 2] == pytest.approx(39, abs=1.0)  # z of the last slice, and half a voxel


def test_a_finished_file_is_not_made_again_and_not_lost(ball, tmp_path):
    path = export(ball, tmp_path / "a.glb").run()
    before = path.read_bytes()
    assert export(ball, path).finished()
    with pytest.raises(PlanError, match="started with other materials"):
        export(ball, path, materials=["tissue"]).run()
    assert path.read_bytes() == before
    assert export(ball, tmp_path / "b.glb").run().read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.glb", "b.glb"]


def test_what_is_too_large_for_a_file_is_refused_before_it_is_written(ball, tmp_path, monkeypatch):
    with pytest.raises(PlanError, match=r"no GLB file can have more than 4\.3 GB; use a coarser"):
        next(glb._container(b"{}", [memoryview(np.zeros(2**32 - 32, np.uint8))]))
    size = export(ball, tmp_path / "whole.glb").run().stat().st_size
    monkeypatch.setattr(glb, "LARGEST", size // 2)  # so much has the first of two surfaces
    path = tmp_path / "a.glb"
    with pytest.raises(PlanError, match=r"the surfaces take .* or more, but no GLB file can"):
        export(ball, path).run()
    assert not path.exists()


def test_a_plan_warns_of_surfaces_that_may_be_too_large(ball, tmp_path, monkeypatch):
    plan = export(ball, tmp_path / "a.glb")
    assert len(plan.notes) == 1
    monkeypatch.setattr(solid, "LARGEST", plan.writes - 1)
    _, warning = export(ball, tmp_path / "a.glb").notes
    assert warning.startswith("WARNING: surfaces of so many voxels can take")
    assert "a coarser --level" in warning


MEMORY = """
import sys
from xctvol.labels import open_labels
from xctvol.resources import peak_memory
from xctvol.stages.export import export

plan = export(open_labels(sys.argv[1]), sys.argv[2])
plan.run()
print(plan.peak_memory, peak_memory())
"""


@pytest.mark.slow
def test_no_more_is_held_than_was_planned(tmp_path, write_volume, materials):
    """Two materials that fill a volume between them, in grains of two voxels."""
    coarse = np.random.default_rng(0).choice(np.array([3, 7], np.uint8), (60, 60, 60))
    voxels = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    ome, own = {"image-label": image_label(materials, "../")}, {"materials": materials.to_json()}
    write_volume(tmp_path / "a.zarr", voxels, halve_labels, ome, own)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.zarr"), str(tmp_path / "a.glb")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    planned, held = map(int, run.stdout.split())
    assert planned / 3 < held <= planned


@pytest.mark.parametrize(
    "content", [b"", b"glTF" + bytes(16), b"glTF" + bytes(12) + b"JSON{", b"x" * 99]
)
def test_files_of_others_are_left_alone(ball, tmp_path, content):
    path = tmp_path / "a.glb"
    path.write_bytes(content)
    with pytest.raises(
        PlanError, match="is no file of surfaces of xctvol, which will not touch it"
    ):
        export(ball, path).overwrite().run()
    assert path.read_bytes() == content


def test_what_has_no_surfaces_is_refused(ball, scan, tmp_path):
    with pytest.raises(UsageError, match="holds grey values; only materials have surfaces"):
        export(scan.volume, tmp_path / "a.glb")
    with pytest.raises(UsageError, match="there is no material 'air'; there are tissue, vein"):
        export(ball, tmp_path / "a.glb", materials=["air"])
    with pytest.raises(UsageError, match="materials are chosen for surfaces"):
        export(ball, tmp_path / "a.tif", materials=["tissue"])
    with pytest.raises(InputError, match="shows no tissue, so there is no surface"):
        export(ball, tmp_path / "a.glb", materials=["tissue"], box=CORNER).run()
    assert list(tmp_path.iterdir()) == [tmp_path / ".a.glb.work"]
