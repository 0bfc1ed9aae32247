"""What is true of a simulated laboratory, written for evaluation.

Positions on an image plane are mm from the field's centre, x along u and y UP in the image (against v), as are the
world axes of the files: x along u and y up in view 1, z towards its source.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import write_text
from fluoropose.geometry import Pose
from fluoropose.simulate.files import write_csv, write_matrices
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.laboratory import Laboratory

__all__ = ["write_calibration_truth", "write_trial_truth"]

# The world of the files has y up and z towards the source; ours has y down and z away from it.
FILE_FROM_WORLD = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))


def write_calibration_truth(truth: Path, laboratory: Laboratory) -> None:
    """Write the rig, the beads and the tool's placements as they truly are."""
    views = [_view_truth(laboratory, index) for index in range(len(laboratory.fluoroscopes))]
    normals = [fluoroscope.view.normal for fluoroscope in laboratory.fluoroscopes]
    document = {
        "units": "mm, degrees, pixels",
        "image_size": [laboratory.nominal.image_size_px] * 2,
        "angle_between_axes_deg": float(np.degrees(np.arccos(normals[0] @ normals[1]))),
        "views": views,
        "note": "distortion.u_px[j][i], v_px[j][i]: recorded pixel of the ideal position (x_mm[i], y_mm[j])",
    }
    write_text(truth / "rig.json", json.dumps(document) + "\n")
    held = [(f"{k:02d}", (FILE_FROM_WORLD * p).matrix) for k, p in enumerate(laboratory.world_from_tool)]
    write_matrices(truth / "world_from_tool.csv", "placement", held)

    rows: list[Sequence[Any]] = []
    for k, pose in enumerate(laboratory.world_from_tool):
        for number, fluoroscope in enumerate(laboratory.fluoroscopes, 1):
            plane = fluoroscope.plane_from_world(pose.apply(laboratory.tool.centres_mm))
            places = _bead_columns(fluoroscope, plane)
            names = [bead.name for bead in laboratory.tool.beads]
            rows += [(f"{k:02d}", f"view{number}", n, *p) for n, p in zip(names, places, strict=True)]
    columns = ("x_mm", "y_mm", "u_px", "v_px")
    write_csv(truth / "alignment_beads.csv", ("placement", "view", "bead", *columns), rows)
    for number, (fluoroscope, plate) in enumerate(zip(laboratory.fluoroscopes, laboratory.plates, strict=True), 1):
        beads = plate.beads(fluoroscope.warp.radius_mm)
        places = _bead_columns(fluoroscope, beads.plane_mm)
        table = zip(beads.index.tolist(), places, beads.diameter_mm, strict=True)
        path = truth / f"plate_beads_view{number}.csv"
        write_csv(path, ("grid_i", "grid_j", *columns, "diameter_mm"), [(i, -j, *p, d) for (i, j), p, d in table])


def _bead_columns(fluoroscope: SimulatedFluoroscope, plane_mm: NDArray[np.float64]) -> list[tuple[str, ...]]:
    pixels = fluoroscope.recorded_from_plane(plane_mm)
    return [(f"{x:.5f}", f"{-y:.5f}", f"{u:.4f}", f"{v:.4f}") for (x, y), (u, v) in zip(plane_mm, pixels, strict=True)]


def _view_truth(laboratory: Laboratory, index: int) -> dict[str, Any]:
    fluoroscope, plate = laboratory.fluoroscopes[index], laboratory.plates[index]
    view, turn = fluoroscope.view, FILE_FROM_WORLD.rotation
    foot = (view.principal_point_px - fluoroscope.centre_px) * fluoroscope.pitch_mm
    reach = np.ceil(1.08 * fluoroscope.warp.radius_mm / 5) * 5
    ticks = np.arange(-reach, reach + 1, 5.0)
    x, y = np.meshgrid(ticks, ticks)
    pixels = fluoroscope.recorded_from_plane(np.column_stack([x.ravel(), -y.ravel()])).reshape(*x.shape, 2)
    return {
        "name": f"view{index + 1}",
        "face_centre_world_mm": FILE_FROM_WORLD.apply(view.centre[None])[0].tolist(),
        "x_axis_world": (turn @ view.u_step / fluoroscope.pitch_mm).tolist(),
        "y_axis_world": (-turn @ view.v_step / fluoroscope.pitch_mm).tolist(),
        "normal_to_source_world": (-turn @ view.normal).tolist(),
        "source_world_mm": FILE_FROM_WORLD.apply(view.source[None])[0].tolist(),
        "source_to_face_mm": view.sdd_mm,
        "principal_point_mm": [float(foot[0]), float(-foot[1])],
        "active_radius_mm": fluoroscope.warp.radius_mm,
        "central_pixel_pitch_mm": fluoroscope.pitch_mm,
        "face_centre_px": fluoroscope.centre_px.tolist(),
        "plate": {"rotation_deg": -plate.turn_deg, "offset_mm": [plate.offset_mm[0], -plate.offset_mm[1]]},
        "distortion": {
            "x_mm": ticks.tolist(),
            "y_mm": ticks.tolist(),
            "u_px": np.round(pixels[..., 0], 4).tolist(),
            "v_px": np.round(pixels[..., 1], 4).tolist(),
        },
    }


def write_trial_truth(
    truth: Path, laboratory: Laboratory, world_from_head: Sequence[Pose], bone_points_mm: NDArray[np.float64]
) -> None:
    """Write where the head was, and the share of the bone's points (n, 3) mm that each field showed."""
    names = [f"{k:04d}" for k in range(len(world_from_head))]
    matrices = [(n, (FILE_FROM_WORLD * p).matrix) for n, p in zip(names, world_from_head, strict=True)]
    write_matrices(truth / "world_from_ct.csv", "frame", matrices)
    shown = [_field_share(laboratory, pose.apply(bone_points_mm)) for pose in world_from_head]
    shares = [(n, *s) for n, s in zip(names, shown, strict=True)]
    write_csv(truth / "field_share.csv", ("frame", "view1", "view2", "both"), shares)


def _field_share(laboratory: Laboratory, points_mm: NDArray[np.float64]) -> tuple[str, str, str]:
    inside = []
    for fluoroscope in laboratory.fluoroscopes:
        plane = fluoroscope.plane_from_world(points_mm)
        inside.append(np.hypot(plane[:, 0], plane[:, 1]) < fluoroscope.warp.radius_mm)
    one, two, both = (f"{float(np.mean(s)):.4f}" for s in (*inside, np.logical_and(*inside)))
    return one, two, both
