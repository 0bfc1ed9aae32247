"""The real knee: errors against the reference, against X-rays simulated at it, and against the image's own edges."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.ndimage import gaussian_filter

from edge_pose import EdgeFit
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.refinement import Refiner
from mesh_xray import beam_through
from outline_edges import edge_distances, edges_from_drawn
from refinement_ledger import Ledger, Result, Stopwatch, of_refinement, row
from refinement_trials import FAILURE_MM, OpenTrial

__all__ = ["knee_rows"]

_OURS = "landmarks, then our LM, 8 starts"
_EDGES_ALONE = "edges alone, from the reference"
_EDGES = tuple(
    f"{what}_view{view}_{how}"
    for what in ("outline_to_edge", "drawn_to_edge")
    for view in (1, 2)
    for how in ("px", "signed_px", "shift_u_px", "shift_v_px", "growth_px")
)
_CLEAR = 0.01  # of full scale per pixel: an edge
# As in the frames: what reaches a pixel behind metal, what of that beside it is the beam, and the blur of an edge.
_VEIL, _BEAM, _BLUR_PX = 0.235, 0.165, 1.4
_METAL_PER_MM = 0.6
_NEIGHBOURS = np.array([-4, -3, -2, -1, 1, 2, 3, 4])


def knee_rows(trial: OpenTrial, ledger: Ledger, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "knee"."""
    refiner = Refiner(trial.rig, trial.bone)
    spans = {"frames 100-149": range(100, 150), "frames 0-99, every tenth (developed on)": range(0, 100, 10)}
    step = 10 if quick else 1
    for span, numbers in spans.items():
        done: dict[str, list[Result]] = {"reference": [], "landmarks": [], _OURS: []}
        for number in track(numbers[::step], f"knee: {span}"):
            start, truth = trial.landmark_poses.get(number), trial.truth[number]
            done["reference"].append(ledger.get(f"reference {number}", partial(_reference, trial, number)))
            done["landmarks"].append(ledger.get(f"landmarks {number}", partial(_landmarks, trial, number)))
            after = of_refinement(None, truth)
            if start is not None:
                after = ledger.get(f"lm8 {number}", partial(_refined, trial, refiner, number, start))
            done[_OURS].append(after)
        for method, results in done.items():
            edges: dict[str, Any] = {k: _mean(results, k) for k in _EDGES}
            if numbers.step * step == 1:
                edges |= _unsteady(results)
            if method == _OURS:
                edges |= _beside(results, done["reference"])
            landmarks = trial.bone.landmarks_mm
            yield row("knee", method, results, landmarks, failure_mm=FAILURE_MM, frames=span, **edges)
        if numbers.step == 1:
            yield _edges_alone(trial, ledger, span, dict(zip(numbers[::step], done[_OURS], strict=True)))
    yield _simulated(trial, refiner, ledger, range(100, 150, 3)[::step])


def _edges_alone(trial: OpenTrial, ledger: Ledger, span: str, ours: dict[int, Result]) -> dict[str, Any]:
    """Fit drawn edges to the frames', from the reference and from ours: where both end, the frames show the bone."""
    chosen = {n: (pose, one.true_pose) for n, one in ours.items() if one.extra and (pose := one.pose) is not None}
    from_ours: list[Result] = []
    from_reference: list[Result] = []
    for number, starts in track(chosen.items(), f"knee: edges alone, {span}"):
        for start, name, ends in zip(starts, ("ours", "reference"), (from_ours, from_reference), strict=True):
            ends.append(ledger.get(f"edges {number} from {name}", partial(_edge_fit, trial, number, start)))
    found: dict[str, Any] = {}
    others = {
        "from_ours": [pose for pose, _ in chosen.values()],
        "both_starts_apart": [pose for one in from_ours if (pose := one.pose) is not None],
    }
    for name, poses in others.items():
        apart = pose_errors([one.pose for one in from_reference], poses)
        found[f"{name}_deg"] = float(np.median(apart.geodesic_error_deg))
        found[f"{name}_mm"] = float(np.median(apart.translation_norm_mm))
    landmarks = trial.bone.landmarks_mm
    return row("knee", _EDGES_ALONE, from_reference, landmarks, failure_mm=FAILURE_MM, frames=span, **found)


def _beside(ours: list[Result], reference: list[Result]) -> dict[str, Any]:
    """Compare ours with the reference: how much of the difference is the same in all poses, and whose fit the edges."""
    pairs = [(a.pose, a, b) for a, b in zip(ours, reference, strict=True) if a.pose is not None]
    between = [pose.inverse() * b.true_pose for pose, _, b in pairs]  # in the bone's frame
    turns = np.degrees([one.rotation_vector for one in between])
    shifts = np.array([one.translation_mm for one in between])
    left_deg = np.linalg.norm(turns - np.median(turns, axis=0), axis=1)
    left_mm = np.linalg.norm(shifts - np.median(shifts, axis=0), axis=1)
    seen = [(a.extra, b.extra, apart) for (_, a, b), apart in zip(pairs, shifts, strict=True) if a.extra and b.extra]
    both = ("drawn_to_edge_view1_px", "drawn_to_edge_view2_px")
    away = np.array([[sum(one[k] for k in both) / 2 for one in two[:2]] for two in seen])  # (n, ours and reference's)
    apart = np.array([np.linalg.norm(shift) for _, _, shift in seen])
    far = apart >= np.median(apart)
    return {
        "always_the_same_deg": np.median(turns, axis=0).tolist(),
        "always_the_same_mm": np.median(shifts, axis=0).tolist(),
        "geodesic_without_that_deg": float(np.median(left_deg)),
        "translation_without_that_mm": float(np.median(left_mm)),
        "edges_nearer_to_ours_share": float(np.mean(away[:, 0] < away[:, 1])),
        "where_they_differ_most": {
            "pairs": int(far.sum()),
            "apart_mm": float(apart[far].mean()),
            "drawn_to_edge_px": float(away[far, 0].mean()),
            "reference_drawn_to_edge_px": float(away[far, 1].mean()),
            "edges_nearer_to_ours_share": float(np.mean(away[far, 0] < away[far, 1])),
        },
    }


def _unsteady(results: list[Result]) -> dict[str, Any]:
    """Say how far poses of successive frames lie from the parabola through the four before and the four after each.

    The knee bends steadily: what is left is mostly the pose's own error. In the bone's frame, root mean squares.
    """
    poses = [one.pose for one in results]
    parabola = np.column_stack([np.ones(len(_NEIGHBOURS)), _NEIGHBOURS, _NEIGHBOURS**2])
    off = []
    for n in range(-_NEIGHBOURS[0], len(poses) - _NEIGHBOURS[-1]):
        here, others = poses[n], [poses[n + k] for k in _NEIGHBOURS]
        if here is None:
            continue
        motions = [here.inverse() * other for other in others if other is not None]
        if len(motions) == len(others):
            turns, shifts = (np.array([getattr(m, k) for m in motions]) for k in ("rotation_vector", "translation_mm"))
            off.append(np.linalg.lstsq(parabola, np.hstack([np.degrees(turns), shifts]), rcond=None)[0][0])
    squares = np.mean(np.square(off), axis=0)
    return {"unsteady_deg": float(np.sqrt(squares[:3].sum())), "unsteady_mm": float(np.sqrt(squares[3:].sum()))}


def _mean(results: list[Result], name: str) -> float | None:
    values = [r.extra[name] for r in results if name in r.extra]
    return float(np.mean(values)) if values else None


def _edges(trial: OpenTrial, number: int, frames: list[NDArray[np.float32]], pose: Pose) -> dict[str, float]:
    """Measure every tenth frame only: the outline of so many triangles takes far longer than the refinement."""
    found: dict[str, float] = {}
    if number % 10:
        return found
    vertices, faces = trial.bone.vertices, trial.bone.faces
    for k, (scope, frame) in enumerate(zip(trial.rig.fluoroscopes, frames, strict=True), start=1):
        expected = _exposed(trial, pose, k - 1, np.float32(1))
        kinds = {
            "outline_to_edge": edge_distances(scope, frame, pose, vertices, faces, _CLEAR),
            "drawn_to_edge": edges_from_drawn(scope, frame, 1 - expected, pose, vertices, faces, _CLEAR),
        }
        for what, edges in kinds.items():
            values = (edges.mean_px, float(np.median(edges.signed)), *(float(one) for one in edges.shift_px))
            hows = ("px", "signed_px", "shift_u_px", "shift_v_px", "growth_px")
            found |= {f"{what}_view{k}_{how}": value for how, value in zip(hows, values, strict=True)}
    return found


def _edge_fit(trial: OpenTrial, number: int, start: Pose) -> Result:
    def draw(pose: Pose, view: int) -> NDArray[np.float32]:
        return np.asarray(1 - _exposed(trial, pose, view, np.float32(1)), dtype=np.float32)

    bone = trial.bone
    fit = EdgeFit(trial.rig.fluoroscopes, trial.frames(number), draw, bone.vertices, bone.faces, _CLEAR)
    return of_refinement(fit.near(start), trial.truth[number])


def _exposed(trial: OpenTrial, pose: Pose, view: int, tissue: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    """Return the signal (h, w), full scale 1, behind the implant's surface, with what the ``tissue`` lets through."""
    bone, scope = trial.bone, trial.rig.fluoroscopes[view]
    beam = beam_through(scope.view, pose, bone.vertices, bone.faces, _METAL_PER_MM)
    signal = np.asarray(_VEIL + _BEAM * tissue * beam, dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(signal, (0, 0), _BLUR_PX), dtype=np.float32)


def _reference(trial: OpenTrial, number: int) -> Result:
    truth = trial.truth[number]
    return of_refinement(truth, truth, (0.0, 0.0), **_edges(trial, number, trial.frames(number), truth))


def _landmarks(trial: OpenTrial, number: int) -> Result:
    pose = trial.landmark_poses.get(number)
    edges = {} if pose is None else _edges(trial, number, trial.frames(number), pose)
    return of_refinement(pose, trial.truth[number], (0.0, 0.0), **edges)


def _refined(trial: OpenTrial, refiner: Refiner, number: int, start: Pose) -> Result:
    frames = trial.frames(number)
    watch = Stopwatch()
    found = refiner.refine(frames, start)
    took = watch.read()
    kept = start if refiner.doubt(found, start) else found
    pose = kept if isinstance(kept, Pose) else kept.world_from_bone
    return of_refinement(kept, trial.truth[number], took, **_edges(trial, number, frames, pose))


# --- simulated from the implant's surface -------------------------------------------------------------------------


def _simulated(trial: OpenTrial, refiner: Refiner, ledger: Ledger, numbers: range) -> dict[str, Any]:
    """Refine X-rays drawn of the implant's surface at the reference poses; starts as far off as the real ones are."""
    results = []
    for number in track(numbers, "knee: simulated"):
        start, truth = trial.landmark_poses.get(number), trial.truth[number]
        if start is None:
            results.append(of_refinement(None, truth))
            continue

        def compute(n: int = number, s: Pose = start, t: Pose = truth) -> Result:
            frames = _draw(trial, t, n)
            watch = Stopwatch()
            found = refiner.refine(frames, s)
            return of_refinement(found, t, watch.read())

        results.append(ledger.get(f"simulated {number}", compute))
    where = "X-rays simulated at the reference poses"
    return row("knee", _OURS, results, trial.bone.landmarks_mm, failure_mm=FAILURE_MM, frames=where)


def _draw(trial: OpenTrial, truth: Pose, seed: int) -> list[NDArray[np.float32]]:
    """Draw frames: tissue that varies smoothly, the metal, scatter, blur, noise, 8 bits."""
    rng = np.random.default_rng(seed)
    found = []
    for view, scope in enumerate(trial.rig.fluoroscopes):
        size = (scope.view.height, scope.view.width)
        rough = gaussian_filter(rng.normal(size=size), 40)
        signal = _exposed(trial, truth, view, np.exp(0.25 * rough / rough.std()).astype(np.float32))
        noisy = signal + 0.005 * rng.normal(size=size)
        found.append((1 - np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32))
    return found
