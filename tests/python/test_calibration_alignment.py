"""Alignment: identification, exactness, the Cramer-Rao bound, and what the data cannot determine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.calibration.alignment import align, align_observations
from fluoropose.calibration.bundle_adjustment import Observation, Setting, adjust, jacobian, residuals
from fluoropose.calibration.tool import AlignmentTool, SeenBeads, project, sightings
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose

TOOL = AlignmentTool(
    ("A", "B", "C", "D"),
    np.array([[0.0, 0.0, 0.0], [118.4, 1.3, -0.8], [57.1, 103.7, 2.5], [61.6, 36.2, 96.9]]),
    np.array([3.0, 4.0, 5.0, 6.0]),
)
SOURCES = np.array([[3.7, 2.4, -1146.4], [-4.2, 1.1, -1224.0]])
NOMINAL = np.array([[0.0, 0.0, -1150.0], [0.0, 0.0, -1220.0]])


def setting(placements: int = 6, seed: int = 0) -> Setting:
    """Two views 78 degrees apart whose axes just miss each other, and random placements near the isocentre."""
    rng = np.random.default_rng(seed)
    isocentre = np.array([0.0, 0.0, -380.0])
    turn = Rotation.from_euler("yxz", [-78.4, 1.5, -2.0], degrees=True).as_matrix()
    second = Pose(turn, isocentre + turn @ [4.0, -3.0, 420.0])
    middle = TOOL.centres_mm.mean(axis=0)
    tools = []
    for _ in range(placements):
        rotation = Rotation.random(rng=rng).as_matrix()
        tools.append(Pose(rotation, isocentre + rng.uniform(-20, 20, 3) - rotation @ middle))
    return Setting((Pose.identity(), second), SOURCES, tuple(tools))


def observe(true: Setting, noise: float = 0.0, seed: int = 0, tool: AlignmentTool = TOOL) -> list[Observation]:
    rng = np.random.default_rng(seed)
    n = len(tool.names)
    blank = [
        Observation(p, v, np.arange(n), np.zeros((n, 2)))
        for p in range(len(true.world_from_tool))
        for v in range(len(true.world_from_plane))
    ]
    exact = [residuals(tool, o, true) for o in blank]
    return [replace(o, plane_mm=e + rng.normal(0, noise, e.shape)) for o, e in zip(blank, exact, strict=True)]


def spots(true: Setting, observed: list[Observation], seed: int = 0, extra: int = 0) -> list[list[SeenBeads]]:
    """Return what an image shows of observations: spots in any order, sizes 5 % wrong, and stray spots."""
    rng = np.random.default_rng(seed)
    seen: list[list[SeenBeads]] = [[] for _ in true.world_from_tool]
    for o in observed:
        place = true.world_from_plane[o.view].inverse() * true.world_from_tool[o.placement]
        source = true.sources_mm[o.view]
        depth = place.apply(TOOL.centres_mm[o.bead])[:, 2] - source[2]
        radii = TOOL.diameters_mm[o.bead] / 2 * -source[2] / depth * rng.uniform(0.95, 1.0, len(o.bead))
        centres = np.vstack([o.plane_mm, rng.uniform(-120, 120, (extra, 2))])
        order = rng.permutation(len(centres))
        seen[o.placement].append(SeenBeads(centres[order], np.concatenate([radii, rng.uniform(2, 4, extra)])[order]))
    return seen


def test_exact_beads_give_the_exact_rig_without_a_start() -> None:
    true = setting()
    found = align(TOOL, spots(true, observe(true)), NOMINAL)
    assert found.undetermined == ()
    assert found.rejected == ()
    # Measured 1e-9 degrees and 1e-7 mm.
    assert found.angles_deg == pytest.approx([angle_deg(true)], abs=1e-6)
    assert np.abs(found.setting.sources_mm - SOURCES).max() < 1e-4
    difference = found.setting.world_from_plane[1].inverse() * true.world_from_plane[1]
    assert np.linalg.norm(difference.translation_mm) < 1e-4
    for ours, theirs in zip(found.setting.world_from_tool, true.world_from_tool, strict=True):
        assert np.degrees(ours.angle_to(theirs)) < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_beads_are_told_apart_among_stray_spots(seed: int) -> None:
    true = setting(1, seed)
    observed = observe(true, 0.02, seed)
    seen = spots(true, observed, seed, extra=2)[0]
    for o, view in zip(observed, seen, strict=True):
        best = sightings(TOOL, view, NOMINAL[o.view])[0]
        assert np.allclose(view.centres_mm[best.spot], o.plane_mm)


@pytest.mark.slow
def test_errors_reach_the_cramer_rao_bound() -> None:
    true, noise, runs = setting(), 0.05, 100
    free = np.ones((2, 3), dtype=bool)
    information = jacobian(TOOL, observe(true), true) / noise
    bound = np.linalg.inv(information.T @ information)[:12, :12]
    errors = []
    for run in range(runs):
        found = adjust(TOOL, observe(true, noise, run), true, free)
        moved = found.world_from_plane[1]
        turn = (moved * true.world_from_plane[1].inverse()).rotation_vector
        shift = moved.translation_mm - true.world_from_plane[1].translation_mm
        errors.append(np.concatenate([turn, shift, (found.sources_mm - SOURCES).ravel()]))
    # Whitened by the bound, the errors of all 12 unknowns have mean square 1; over 100 runs it is known to 4 %.
    scatter = np.array(errors)
    whitened = np.einsum("ni,ij,nj->n", scatter, np.linalg.inv(bound), scatter).mean() / 12
    assert 0.8**2 < whitened < 1.2**2
    # Each alone: the RMS of 100 draws is known to 7 %, and there are 12 of them.
    assert (np.sqrt((scatter**2).mean(axis=0)) < 1.2 * np.sqrt(np.diag(bound))).all()
    # As in a laboratory's independent solve: 2 to 4 mm in the sources, 0.14 degrees (mean size) in the angle.
    assert np.abs(scatter[:, 6:]).mean() < 4


@pytest.mark.slow
def test_reported_deviations_match_the_scatter_from_the_cold_start() -> None:
    true = setting()
    pulls, angles = [], []
    for run in range(8):
        found = align(TOOL, spots(true, observe(true, 0.02, run), run), NOMINAL)
        assert found.noise_mm == pytest.approx(0.02, rel=0.4)
        pulls.append((found.setting.sources_mm - SOURCES) / found.source_sd_mm)
        angles.append((found.angles_deg - angle_deg(true)) / found.angle_sd_deg)
    # 48 pulls, correlated within a run: their RMS is 1 to about 20 %.
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.5
    assert np.abs(angles).max() < 4


def test_one_placement_of_four_beads_cannot_determine_the_sources() -> None:
    true = setting(1)
    observed = observe(true, 0.01)
    found = align_observations(TOOL, observed, replace(true, sources_mm=NOMINAL))
    # 16 numbers are seen; 6 of the tool, 6 of the view and 6 of the sources are 18 unknowns.
    assert len(found.undetermined) >= 2
    assert all("view" in name for name in found.undetermined)
    for name in found.undetermined:
        view, coordinate = int(name[5]) - 1, 0 if " u" in name else 1 if " v" in name else 2
        assert found.setting.sources_mm[view, coordinate] == NOMINAL[view, coordinate]
        assert np.isnan(found.source_sd_mm[view, coordinate])


def test_given_sources_stay_as_given() -> None:
    true = setting()
    found = align_observations(TOOL, observe(true, 0.01), true, estimate_sources=False)
    assert (found.setting.sources_mm == SOURCES).all()
    assert len(found.names) == 6
    assert found.undetermined == ()
    assert found.angles_deg == pytest.approx([angle_deg(true)], abs=0.05)


def test_a_bead_that_was_measured_wrongly_is_left_out() -> None:
    true = setting()
    observed = observe(true, 0.01)
    five = AlignmentTool(
        (*TOOL.names, "E"), np.vstack([TOOL.centres_mm, [60.0, 30.0, 40.0]]), np.append(TOOL.diameters_mm, 5.0)
    )
    observed = observe(true, 0.01, tool=five)
    plane = observed[3].plane_mm.copy()
    plane[2] += [1.5, -1.0]
    observed[3] = replace(observed[3], plane_mm=plane)
    found = align_observations(five, observed, true)
    assert found.rejected == ((observed[3].placement, observed[3].view, 2),)
    assert found.noise_mm == pytest.approx(0.01, rel=0.3)


def test_an_outlier_that_must_stay_keeps_no_other_one() -> None:
    true = setting()
    five = AlignmentTool(
        (*TOOL.names, "E"), np.vstack([TOOL.centres_mm, [60.0, 30.0, 40.0]]), np.append(TOOL.diameters_mm, 5.0)
    )
    observed = observe(true, 0.01, tool=five)
    wrong = {3: {1: (1.9, -1.6), 2: (-1.9, 1.6)}, 6: {0: (0.9, 0.7)}}  # of the third, only one can be spared
    for k, moved in wrong.items():
        plane = observed[k].plane_mm.copy()
        for bead, by in moved.items():
            plane[bead] += by
        observed[k] = replace(observed[k], plane_mm=plane)
    found = align_observations(five, observed, true)
    assert (observed[6].placement, observed[6].view, 0) in found.rejected


def test_the_derivatives_are_those_of_the_residuals() -> None:
    true = setting(2)
    observed = observe(true, 0.3)
    analytic = jacobian(TOOL, observed, true)
    step = 1e-4

    def shifted(k: int, h: float) -> NDArray[np.float64]:
        planes, tools = list(true.world_from_plane), list(true.world_from_tool)
        sources = true.sources_mm.copy()
        if 6 <= k < 12:
            sources[(k - 6) // 3, (k - 6) % 3] += h
        else:
            poses, place = (planes, 1) if k < 6 else (tools, (k - 12) // 6)
            delta = np.zeros(6)
            delta[k % 6] = h / 100 if k % 6 < 3 else h
            turned = Rotation.from_rotvec(delta[:3]).as_matrix() @ poses[place].rotation
            poses[place] = Pose(turned, poses[place].translation_mm + delta[3:])
        moved = Setting(tuple(planes), sources, tuple(tools))
        return np.concatenate([residuals(TOOL, o, moved).ravel() for o in observed])

    for k in range(analytic.shape[1]):
        scale = 100 if (k < 6 or k >= 12) and k % 6 < 3 else 1
        numeric = (shifted(k, step) - shifted(k, -step)) / (2 * step) * scale
        # Central differences of a smooth function; measured 1e-7 relative.
        assert np.allclose(analytic[:, k], numeric, rtol=1e-5, atol=1e-6 * scale)


def test_a_spheres_shadow_is_centred_outside_its_projected_centre() -> None:
    source, radius = np.array([0.0, 0.0, -1000.0]), 50.0  # a huge sphere, to see it
    centre = np.array([[200.0, 0.0, -400.0]])
    x, z = centre[0, 0], 600.0
    # The rim's two ends in the plane of source, centre and u axis: tangents at the angles a +- b.
    a, b = np.arctan2(x, z), np.arcsin(radius / np.hypot(x, z))
    middle = (np.tan(a + b) + np.tan(a - b)) / 2 * 1000
    assert project(centre, source, radius)[0, 0] == pytest.approx(middle, rel=1e-12)
    assert project(centre, source)[0, 0] < middle - 1


def test_impossible_data_are_refused() -> None:
    true = setting()
    seen = spots(true, observe(true))
    with pytest.raises(InputError, match="200 to 5000 mm, found 1"):
        align(TOOL, seen, NOMINAL / 1000)
    few = [[SeenBeads(s.centres_mm[:3], s.radii_mm[:3]) for s in views] for views in seen]
    with pytest.raises(InputError, match=r"placement 0, view 1: .*at least 4 beads"):
        align(TOOL, few, NOMINAL)
    wrong = AlignmentTool(TOOL.names, TOOL.centres_mm * [1, 1, 0.5], TOOL.diameters_mm)
    with pytest.raises(InputError):
        align(wrong, seen, NOMINAL)
    with pytest.raises(InputError, match="at least one placement"):
        align(TOOL, [], NOMINAL)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bead,x_mm\nA,1\n", "columns"),
        ("bead,diameter_mm,x_mm,y_mm,z_mm\nA,3,0,0,0\n", "at least 4 beads"),
        ("bead,diameter_mm,x_mm,y_mm,z_mm\n" + "".join(f"{b},3,{i}e2,x,0\n" for i, b in enumerate("ABCD")), "x"),
        ("bead,diameter_mm,x_mm,y_mm,z_mm\n" + "".join(f"{b},3,{i}0,0,0\n" for i, b in enumerate("ABCD")), "one line"),
        (
            "bead,diameter_mm,x_mm,y_mm,z_mm\nA,.3,0,0,0\nB,.4,.1,0,0\nC,.5,0,.1,0\nD,.6,0,0,.1\n",
            "expected millimetres",
        ),
    ],
)
def test_a_wrong_table_of_beads_is_refused(tmp_path: object, text: str, named: str) -> None:
    path = tmp_path / "tool.csv"  # type: ignore[operator]
    path.write_text(text)
    with pytest.raises(FileFormatError, match=named) as caught:
        AlignmentTool.load(path)
    assert "tool.csv" in str(caught.value)


def test_a_table_of_beads_that_a_spreadsheet_wrote_is_read(tmp_path: Path) -> None:
    rows = "".join(f"{bead},3,{x},{y},0\n" for bead, x, y in (("A", 0, 0), ("B", 40, 0), ("C", 0, 50), ("D", 60, 60)))
    (tmp_path / "tool.csv").write_text("\ufeffbead,diameter_mm,x_mm,y_mm,z_mm\n" + rows, encoding="utf-8")
    assert AlignmentTool.load(tmp_path / "tool.csv").names == ("A", "B", "C", "D")


def angle_deg(true: Setting) -> float:
    return float(np.degrees(np.arccos(true.world_from_plane[1].rotation[2, 2])))


def test_more_beads_than_can_be_told_apart_are_refused() -> None:
    rng = np.random.default_rng(0)
    crowd = AlignmentTool(tuple(map(str, range(40))), rng.uniform(-60, 60, (40, 3)), np.full(40, 3.0))
    spots_of_it = SeenBeads(rng.uniform(-80, 80, (40, 2)), np.full(40, 2.0))
    with pytest.raises(InputError, match="found 40 round spots that could be any of its 40 beads: too many ways to"):
        sightings(crowd, spots_of_it, NOMINAL[0])
