"""Errors of a calibrated rig against the truth that a simulated laboratory, such as lab_head, comes with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope, Rig

__all__ = ["calibration_errors", "true_views"]

# The files' plane frames have y up and z towards the source; ours have y down and z away from it.
_FLIP = np.diag([1.0, -1.0, -1.0])


class TrueView:
    """One view of truth/rig.json in our conventions: plane frame, source in it, recorded pixels."""

    def __init__(self, entry: dict[str, Any]) -> None:
        axes = np.column_stack([entry[k] for k in ("x_axis_world", "y_axis_world", "normal_to_source_world")])
        centre = np.array(entry["face_centre_world_mm"])
        self.world_from_plane = Pose(_FLIP @ axes @ _FLIP, _FLIP @ centre)
        self.source_mm = np.array([entry["principal_point_mm"][0], -entry["principal_point_mm"][1], 0.0])
        self.source_mm[2] = -entry["source_to_face_mm"]
        self.radius_mm = float(entry["active_radius_mm"])
        table = entry["distortion"]
        self._u = RectBivariateSpline(table["y_mm"], table["x_mm"], table["u_px"])
        self._v = RectBivariateSpline(table["y_mm"], table["x_mm"], table["v_px"])

    def recorded_from_plane(self, plane_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) mm, y down -> (n, 2) recorded pixels."""
        x, y = plane_mm.T
        return np.column_stack([self._u.ev(-y, x), self._v.ev(-y, x)])

    def plane_from_world(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) world mm -> (n, 2) mm on the plane."""
        away = self.world_from_plane.inverse().apply(points_mm) - self.source_mm
        return np.asarray(self.source_mm[:2] - away[:, :2] * (self.source_mm[2] / away[:, 2])[:, None])


def true_views(truth: Path) -> list[TrueView]:
    """Read a laboratory's truth/rig.json."""
    document = json.loads(truth.read_text(encoding="utf-8"))
    return [TrueView(entry) for entry in document["views"]]


def calibration_errors(rig: Rig, truth: Path) -> dict[str, Any]:
    """Compare a rig with a laboratory's truth/rig.json, whatever the turn and offset of the plates.

    Returns per view the error of undistorted positions over the field (ideal pixels, after the rigid motion in the
    plane that a plate leaves open), of the source and the principal point (mm); of the second view's pose (degrees,
    mm); and how far points about the isocentre, seen through the true rig and triangulated with this one, miss after
    one rigid motion (mm).
    """
    views = true_views(truth)
    compared = [_compare(f, true) for f, true in zip(rig.fluoroscopes, views, strict=True)]
    ours_from_true = [c["ours_from_true"] for c in compared]
    planes = [_plane_pose(f) for f in rig.fluoroscopes]
    found = planes[0].inverse() * planes[1]
    true = ours_from_true[0] * (views[0].world_from_plane.inverse() * views[1].world_from_plane)
    true = true * ours_from_true[1].inverse()
    axes = found.rotation[:, 2], true.rotation[:, 2]
    angles = [float(np.degrees(np.arccos(axis[2]))) for axis in axes]
    return {
        "distortion_rms_px": [c["distortion_rms_px"] for c in compared],
        "distortion_max_px": [c["distortion_max_px"] for c in compared],
        "source_error_mm": [c["source_error_mm"] for c in compared],
        "principal_point_error_mm": [c["source_error_mm"][:2] for c in compared],
        "angle_between_axes_error_deg": angles[0] - angles[1],
        "view_2_turn_error_deg": float(np.degrees(found.angle_to(true))),
        "view_2_position_error_mm": float(np.linalg.norm(found.translation_mm - true.translation_mm)),
        "triangulation_rms_mm": _triangulation_rms(rig, views),
    }


def _compare(fluoroscope: Fluoroscope, true: TrueView) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    plane = rng.uniform(-true.radius_mm, true.radius_mm, (20000, 2))
    plane = plane[np.hypot(*plane.T) < true.radius_mm - 0.5]
    view = fluoroscope.view
    pitch = view.pixel_pitch_mm[0]
    middle = (np.array(view.size_px) - 1) / 2
    found = (fluoroscope.ideal_from_recorded(true.recorded_from_plane(plane)) - middle) * pitch
    turn, shift = _rigid(plane, found)
    miss = np.linalg.norm(plane @ turn.T + shift - found, axis=1) / pitch
    place = np.eye(4)
    place[:2, :2], place[:2, 3] = turn, shift
    ours_from_true = Pose.from_matrix(place)
    source = np.array([*((view.principal_point_px - middle) * pitch), -view.sdd_mm])
    return {
        "ours_from_true": ours_from_true,
        "distortion_rms_px": float(np.sqrt(np.mean(miss**2))),
        "distortion_max_px": float(miss.max()),
        "source_error_mm": (source - ours_from_true.apply(true.source_mm[None])[0]).tolist(),
    }


def _plane_pose(fluoroscope: Fluoroscope) -> Pose:
    view = fluoroscope.view
    x = view.u_step / np.linalg.norm(view.u_step)
    return Pose(np.column_stack([x, np.cross(view.normal, x), view.normal]), view.centre)


def _rigid(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return R (k, k) and t (k,) with b ~ R a + t, least squares."""
    ca, cb = a.mean(axis=0), b.mean(axis=0)
    u, _, vt = np.linalg.svd((b - cb).T @ (a - ca))
    signs = np.ones(len(ca))
    signs[-1] = np.sign(np.linalg.det(u @ vt))
    turn = (u * signs) @ vt
    return turn, cb - turn @ ca


def _triangulation_rms(rig: Rig, views: list[TrueView]) -> float:
    """Return the RMS miss in mm of points within 60 mm of the isocentre."""
    sources = np.array([v.world_from_plane.apply(v.source_mm[None])[0] for v in views])
    normals = np.array([v.world_from_plane.rotation[:, 2] for v in views])
    isocentre = _nearest_point(sources, normals)
    points = np.random.default_rng(1).normal(size=(400, 3))
    points = isocentre + 60 * points / np.linalg.norm(points, axis=1, keepdims=True)
    rays = []
    for fluoroscope, true in zip(rig.fluoroscopes, views, strict=True):
        ideal = fluoroscope.ideal_from_recorded(true.recorded_from_plane(true.plane_from_world(points)))
        ray = fluoroscope.view.pixel_to_world(ideal) - fluoroscope.view.source
        rays.append(ray / np.linalg.norm(ray, axis=1, keepdims=True))
    ours = np.array([f.view.source for f in rig.fluoroscopes])
    found = np.array([_nearest_point(ours, np.array(pair)) for pair in zip(*rays, strict=True)])
    turn, shift = _rigid(points, found)
    return float(np.sqrt(np.mean(np.sum((points @ turn.T + shift - found) ** 2, axis=1))))


def _nearest_point(origins: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the point (3,) nearest to lines through ``origins`` (k, 3) along unit ``directions`` (k, 3)."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    return np.asarray(np.linalg.solve(across.sum(axis=0), np.einsum("kij,kj->i", across, origins)))
