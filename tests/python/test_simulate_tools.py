"""Simulated calibration objects: chords in closed form, positions where the geometry says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.simulate.alignment_tool import AlignmentTool, ToolBead, placements
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp
from fluoropose.simulate.laboratory import Nominal, install
from fluoropose.simulate.plate import MU_ACRYLIC, MU_STEEL, Plate


def device(size: int = 200, pitch: float = 0.5, **warp: float) -> SimulatedFluoroscope:
    view = View.from_sdd((size, size), 1000.0, pitch, pitch, 0.0, 0.0)
    return SimulatedFluoroscope(view, IntensifierWarp(0.45 * size * pitch, **warp))


def centroid(image: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
    u0, v0 = np.rint(at).astype(int) - reach
    window = image[v0 : v0 + 2 * reach + 1, u0 : u0 + 2 * reach + 1]
    v, u = ndimage.center_of_mass(window - window.min())
    return np.array([u0 + u, v0 + v])


def test_plate_attenuates_by_its_acrylic_and_by_the_chord_of_a_bead() -> None:
    plate = Plate(thickness_mm=8.0)
    image = plate.line_integral(device(201, 0.1))  # 0.1 mm pixels: a bead is 20 of them across
    assert image[100, 130] == pytest.approx(8 * MU_ACRYLIC, abs=1e-6)
    assert image[100, 100] == pytest.approx(8 * MU_ACRYLIC + MU_STEEL * 4.0, rel=2e-3)
    assert image[100, 110] == pytest.approx(8 * MU_ACRYLIC + MU_STEEL * 2 * np.sqrt(4 - 1), rel=2e-3)


def test_plate_beads_are_seen_where_they_are() -> None:
    plate = Plate(turn_deg=2.0, offset_mm=(1.7, -2.1), missing=((1, 1), (-2, 0)))
    machine = device(screen_half_angle_deg=20.0, turn_deg=3.0)
    image = plate.line_integral(machine)
    beads = plate.beads(35.0)
    assert {(1, 1), (-2, 0)}.isdisjoint(map(tuple, beads.index.tolist()))
    assert beads.diameter_mm[(beads.index == 0).all(axis=1)] == pytest.approx([4.0])
    expected = machine.recorded_from_plane(beads.plane_mm)
    seen = np.array([centroid(image, at, 6) for at in expected])
    assert np.abs(seen - expected).max() < 0.05  # pixels; measured 0.02, from the centroid of a bead of four pixels
    gone = machine.recorded_from_plane(replace(plate, missing=()).beads(35.0).plane_mm)
    missing = [at for at in gone if np.abs(expected - at).max(axis=1).min() > 1]
    assert len(missing) == 2
    for u, v in np.rint(missing).astype(int):
        assert image[v, u] == pytest.approx(10 * MU_ACRYLIC, abs=1e-5)


def test_tool_attenuates_by_its_chords() -> None:
    """A bead on the axis, in its ball; and a rod across the beam."""
    tool = AlignmentTool((ToolBead("A", 4.0, (0.0, 0.0, 0.0)), ToolBead("B", 4.0, (30.0, 0.0, 0.0))), 12.0, 6.0)
    machine = device(201, 0.5)
    image = tool.line_integral(machine, Pose(np.eye(3), np.array([0.0, 0.0, -300.0])))
    assert image[100, 100] == pytest.approx(4 * MU_STEEL + 8 * MU_ACRYLIC, rel=0.02)
    half = machine.recorded_from_plane(machine.plane_from_world(np.array([[15.0, 0.0, -300.0]])))[0]
    u, v = np.rint(half).astype(int)
    along = np.hypot(1, (u - 100) * 0.5 / 1000)  # the ray is not quite at right angles to the rod
    assert image[v, u] == pytest.approx(6 * MU_ACRYLIC * along, rel=1e-3)
    assert image[20, 20] == 0


def test_tool_beads_are_seen_where_they_are() -> None:
    laboratory = install(seed=5)
    tool = replace(laboratory.tool, ball_diameter_mm=0.0, rod_diameter_mm=0.0)
    for machine in laboratory.fluoroscopes:
        for pose in laboratory.world_from_tool[:2]:
            expected = machine.recorded_from_plane(machine.plane_from_world(pose.apply(tool.centres_mm)))
            image = tool.line_integral(machine, pose)
            seen = np.array([centroid(image, at, 12) for at in expected])
            assert np.abs(seen - expected).max() < 0.06  # pixels; measured 0.03


def test_placements_show_every_bead_in_both_views() -> None:
    laboratory = install(seed=11)
    assert len(laboratory.world_from_tool) == 6
    for machine in laboratory.fluoroscopes:
        for pose in laboratory.world_from_tool:
            plane = machine.plane_from_world(pose.apply(laboratory.tool.centres_mm))
            assert np.hypot(plane[:, 0], plane[:, 1]).max() < machine.warp.radius_mm


def test_a_tool_that_does_not_fit_is_refused() -> None:
    laboratory = install(seed=1)
    far = AlignmentTool(tuple(replace(b, centre_mm=tuple(9 * x for x in b.centre_mm)) for b in AlignmentTool().beads))
    with pytest.raises(InputError, match="tool"):
        placements(far, laboratory.fluoroscopes, laboratory.nominal.isocentre, 1, np.random.default_rng(0))


def test_laboratory_comes_from_its_seed_and_stands_off_the_paper_a_little() -> None:
    one, same, other = install(seed=2), install(seed=2), install(seed=3)
    sources = [[f.view.source for f in laboratory.fluoroscopes] for laboratory in (one, same, other)]
    assert np.array_equal(sources[0], sources[1])
    assert not np.allclose(sources[0], sources[2])
    nominal = Nominal().rig.views
    for machine, paper in zip(one.fluoroscopes, nominal, strict=True):
        assert 0.1 < np.linalg.norm(machine.view.source - paper.source) < 60
    angle = np.degrees(np.arccos(nominal[0].normal @ nominal[1].normal))
    assert angle == pytest.approx(Nominal().angle_between_axes_deg)


def test_images_too_small_for_a_field_are_refused() -> None:
    with pytest.raises(InputError, match="image_size_px: expected at least 64, found 8"):
        Nominal(image_size_px=8)
