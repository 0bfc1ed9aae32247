"""Time and accuracy of triangulation from a cold start, beside SciPy and pyceres on the same frames.

    python bench/triangulation.py --out bench/results/triangulation.json

Each frame: 33 landmarks with 13 symmetric pairs, two views 75 degrees apart, any rotation, Gaussian noise on the image
planes. The compiled solver tries all four mirror hypotheses; the peers minimise the same cost (Eq. 2 of Zhou et al.
2021) for the unmirrored one only, with analytic derivatives in NumPy. Times are CPU time of one thread, which other
programs on the machine disturb less than they disturb wall time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyceres
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from fluoropose import _core
from fluoropose._files import write_text
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose, View
from fluoropose.registration.registration import Registration
from fluoropose.registration.summary import Environment
from fluoropose.registration.triangulation import neutral_start, triangulate
from fluoropose.rig import Fluoroscope, Rig

Array = NDArray[np.float64]

N_PAIRS, N_MIDLINE, NOISE_MM, PITCH_MM = 13, 7, 2.0, 1.0
PAIRS = np.array([(i, i + N_PAIRS) for i in range(N_PAIRS)])


def make_rig() -> Rig:
    centre = np.array([0.0, 0.0, -500.0])
    turn = Rotation.from_rotvec([0, np.radians(75), 0]).as_matrix()
    places = [Pose.identity(), Pose(turn, centre - turn @ centre)]
    return Rig(tuple(Fluoroscope(View.from_sdd((768, 768), 1000, PITCH_MM, PITCH_MM, 3, -5, p)) for p in places))


class Frame:
    """One frame's truth and predictions."""

    def __init__(self, rig: Rig, rng: np.random.Generator) -> None:
        right = rng.normal(0, 1, (N_PAIRS, 3)) * [20, 45, 35] + [35, 0, 0]
        midline = rng.normal(0, 1, (N_MIDLINE, 3)) * [0, 45, 35]
        self.landmarks: Array = np.vstack([right, right * [-1, 1, 1], midline])
        self.truth = Pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(0, 10, 3) + [0, 0, -500])
        noise = rng.normal(0, NOISE_MM / PITCH_MM, (2, len(self.landmarks), 2))
        self.px: Array = np.array([v.project(self.truth.apply(self.landmarks)) for v in rig.views]) + noise


# --- the peers --------------------------------------------------------------------------------------------------------


class Projection:
    """Residuals on the image planes and their derivatives, as functions of a motion x (rotation vector, mm)."""

    def __init__(self, rig: Rig, frame: Frame, start: Pose) -> None:
        self.frame, self.start = frame, start
        self.matrices = [v.projection_matrix for v in rig.views]
        self.mm_from_px = [v.plane_mm_from_px for v in rig.views]

    def pose(self, x: Array) -> Pose:
        """Return the start, moved by x."""
        turn = Rotation.from_rotvec(x[:3]).as_matrix()
        return Pose(turn @ self.start.rotation, self.start.translation_mm + x[3:])

    def view(self, k: int, x: Array) -> tuple[Array, Array]:
        """Return one view's residuals (2n,) mm and their Jacobian (2n, 6)."""
        p, pose = self.matrices[k], self.pose(x)
        arm = self.frame.landmarks @ pose.rotation.T
        h = (arm + pose.translation_mm) @ p[:, :3].T + p[:, 3]
        px = h[:, :2] / h[:, 2:]
        by_point = (p[None, :2, :3] - px[:, :, None] * p[None, 2:, :3]) / h[:, 2, None, None]
        by_point = -np.einsum("ij,njk->nik", self.mm_from_px[k], by_point)
        by_omega = np.cross(arm[:, None, :], by_point) @ left_jacobian(x[:3])
        residuals = (self.frame.px[k] - px) @ self.mm_from_px[k].T
        return residuals.ravel(), np.concatenate([by_omega, by_point], axis=2).reshape(-1, 6)


def left_jacobian(w: Array) -> Array:
    angle = float(np.linalg.norm(w))
    if angle < 1e-9:
        return np.eye(3)
    k = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    return np.asarray(np.eye(3) + (1 - np.cos(angle)) / angle**2 * k + (angle - np.sin(angle)) / angle**3 * (k @ k))


def solve_with_scipy(rig: Rig, frame: Frame, start: Pose) -> Pose:
    """Minimise the sum of norms as half the squared length of the vectors r_k sqrt(2 / |r_k|)."""
    projection = Projection(rig, frame, start)

    def residuals(x: Array) -> Array:
        parts = [projection.view(k, x)[0] for k in (0, 1)]
        return np.concatenate([r * np.sqrt(2 / np.linalg.norm(r)) for r in parts])

    def jacobian(x: Array) -> Array:
        rows = []
        for k in (0, 1):
            r, j = projection.view(k, x)
            length = np.linalg.norm(r)
            rows.append(np.sqrt(2 / length) * (j - np.outer(r, r @ j) / (2 * length**2)))
        return np.concatenate(rows)

    tolerances = {"ftol": 1e-10, "xtol": 1e-10, "gtol": 1e-10}
    return projection.pose(least_squares(residuals, np.zeros(6), jacobian, x_scale="jac", **tolerances).x)


class ViewCost(pyceres.CostFunction):  # type: ignore[misc]
    """One view's residual block."""

    def __init__(self, projection: Projection, k: int) -> None:
        super().__init__()
        self.projection, self.k = projection, k
        self.set_num_residuals(2 * len(projection.frame.landmarks))
        self.set_parameter_block_sizes([6])

    def Evaluate(self, parameters: list[Array], residuals: Array, jacobians: list[Array] | None) -> bool:  # noqa: N802
        """Fill in what Ceres asks for."""
        r, j = self.projection.view(self.k, np.asarray(parameters[0]))
        residuals[:] = r
        if jacobians is not None and jacobians[0] is not None:
            jacobians[0][:] = j.ravel()
        return True


def solve_with_pyceres(rig: Rig, frame: Frame, start: Pose) -> Pose:
    projection, x = Projection(rig, frame, start), np.zeros(6)
    problem, options = pyceres.Problem(), pyceres.SolverOptions()
    for k in (0, 1):
        # SoftLOne(a) / a is 2 (sqrt(s + a^2) - a): the norm's loss, up to a factor that moves no minimum.
        problem.add_residual_block(ViewCost(projection, k), pyceres.SoftLOneLoss(1e-3), [x])
    options.function_tolerance = options.parameter_tolerance = 1e-10
    options.max_num_iterations = 100
    options.logging_type = pyceres.LoggingType.SILENT
    pyceres.solve(options, problem, pyceres.SolverSummary())
    return projection.pose(x)


# --- ours -------------------------------------------------------------------------------------------------------------


def compiled(rig: Rig, loss: _core.Loss, start: Pose | None) -> Callable[[Frame], _core.Triangulation]:
    """Return the compiled solver of all four hypotheses, to be called with arrays that are ready."""
    views, visible = [v.core() for v in rig.views], np.ones((2, 2 * N_PAIRS + N_MIDLINE), bool)
    partner = np.arange(visible.shape[1], dtype=np.int32)
    partner[: 2 * N_PAIRS] = np.roll(partner[: 2 * N_PAIRS], N_PAIRS)
    matrix = None if start is None else start.matrix

    def solve(frame: Frame) -> _core.Triangulation:
        return _core.triangulate(frame.landmarks, partner, frame.px, visible, None, views, loss, 2.0, False, matrix)

    return solve


def pose_of(found: _core.Triangulation | Registration | Pose) -> Pose | None:
    if isinstance(found, Pose):
        return found
    if isinstance(found, Registration):
        return found.world_from_bone
    return Pose.from_matrix(found.world_from_bone) if found.status == _core.TriangulationStatus.ok else None


def measure(solve: Callable[[Frame], Any], frames: list[Frame], repeats: int) -> dict[str, Any]:
    """Return CPU microseconds per frame (best repeat) and errors over all frames."""
    best, found = np.inf, []
    gc.disable()  # as timeit does: what is measured is the solver, not the collection of 500 results
    for _ in range(repeats):
        begin = time.thread_time()
        found = [solve(frame) for frame in frames]
        best = min(best, time.thread_time() - begin)
    gc.enable()
    errors = pose_errors([pose_of(f) for f in found], [frame.truth for frame in frames])
    return {
        "us_per_frame": round(best / len(frames) * 1e6, 1),
        "frames": len(frames),
        "median_geodesic_error_deg": round(float(np.nanmedian(errors.geodesic_error_deg)), 4),
        "median_translation_norm_mm": round(float(np.nanmedian(errors.translation_norm_mm)), 4),
        "within_5deg_5mm": round(errors.success_rate(5, 5), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/bench/triangulation.json"))
    parser.add_argument("--quick", action="store_true", help="few frames: shows that it runs")
    arguments = parser.parse_args()
    n, n_peer, repeats = (20, 5, 2) if arguments.quick else (500, 100, 7)

    rng, rig = np.random.default_rng(0), make_rig()
    frames = [Frame(rig, rng) for _ in range(n)]
    start = neutral_start(rig)
    norm, squared = _core.Loss.norm, _core.Loss.squared
    rows = {
        "compiled, Eq. 2, 4 hypotheses, closed-form start": measure(compiled(rig, norm, None), frames, repeats),
        "compiled, Eq. 2, 4 hypotheses, paper's start": measure(compiled(rig, norm, start), frames, repeats),
        "compiled, squared, 4 hypotheses, closed-form start": measure(compiled(rig, squared, None), frames, repeats),
        "triangulate() with its checks, Eq. 2, 4 hypotheses": measure(
            lambda f: triangulate(f.landmarks, list(f.px), rig, PAIRS), frames, repeats
        ),
        "scipy least_squares, Eq. 2, 1 hypothesis, paper's start": measure(
            lambda f: solve_with_scipy(rig, f, start), frames[:n_peer], 2
        ),
        "pyceres, Eq. 2, 1 hypothesis, paper's start": measure(
            lambda f: solve_with_pyceres(rig, f, start), frames[:n_peer], 2
        ),
    }
    document = {
        "what": f"33 landmarks, 13 pairs, 2 views, noise {NOISE_MM} mm on the image planes, random rotations; "
        "covariance included; CPU time of one thread",
        "environment": Environment.here().model_dump(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "pyceres")},
        "rows": rows,
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")

    table = Table("solver", "us/frame", "median deg", "median mm", "within 5 deg 5 mm", title=str(document["what"]))
    for name, row in rows.items():
        table.add_row(name, *(str(row[key]) for key in row if key != "frames"))
    Console().print(table)
    Console().print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
