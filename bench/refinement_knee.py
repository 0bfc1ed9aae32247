"""The real knee: errors against the reference, against X-rays simulated at it, and against the image's own edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.ndimage import gaussian_filter

from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, read_bone_config
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose
from fluoropose.refinement import MovingBone, Refiner, bone_alone
from outline_edges import edge_distances
from refinement_ledger import Ledger, Result, Stopwatch, of_refinement, row
from refinement_trials import FAILURE_MM, HERE, OpenTrial

__all__ = ["knee_rows"]

_OURS = "landmarks, then our LM, 8 starts"
_FINE = "landmarks, then our LM, 8 starts, implant in voxels of 0.25 mm"
_EDGES = ("px", "signed_px", "shift_u_px", "shift_v_px", "growth_px")
_CLEAR = 0.01  # of full scale per pixel: an edge


def knee_rows(trial: OpenTrial, data_dir: Path, ledger: Ledger, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "knee"."""
    # Metal is opaque: a voxel that it fills in part is as dark as one that it fills, so that coarse voxels swell.
    fine = MovingBone(bone_alone(_finer(trial.bone, data_dir, 0.25)))
    refiners = {_OURS: Refiner(trial.rig, trial.bone), _FINE: Refiner(trial.rig, trial.bone, moving=fine)}
    spans = {"frames 100-149": range(100, 150), "frames 0-99, every tenth (developed on)": range(0, 100, 10)}
    step = 10 if quick else 1
    for span, numbers in spans.items():
        done: dict[str, list[Result]] = {"reference": [], "landmarks": [], _OURS: [], _FINE: []}
        for number in track(numbers[::step], f"knee: {span}"):
            start, truth = trial.landmark_poses.get(number), trial.truth[number]
            done["reference"].append(ledger.get(f"reference {number}", partial(_reference, trial, number)))
            done["landmarks"].append(ledger.get(f"landmarks {number}", partial(_landmarks, trial, number)))
            for name, key in {_OURS: "lm8", _FINE: "lm8 fine"}.items():
                after = of_refinement(None, truth)
                if start is not None:
                    after = ledger.get(f"{key} {number}", partial(_refined, trial, refiners[name], number, start))
                done[name].append(after)
        for method, results in done.items():
            edges: dict[str, Any] = {
                f"outline_to_edge_{k}": _mean(results, k)
                for k in (f"view{v}_{what}" for v in (1, 2) for what in _EDGES)
            }
            if method in refiners:
                edges |= _beside(results, done["reference"])
            landmarks = trial.bone.landmarks_mm
            yield row("knee", method, results, landmarks, failure_mm=FAILURE_MM, frames=span, **edges)
    drawn: list[Renderer] = []

    def draw() -> Renderer:
        if not drawn:
            drawn.append(Renderer(_finer(trial.bone, data_dir, 0.2).volume))
        return drawn[0]

    for name, refiner in refiners.items():
        yield _simulated(trial, draw, refiner, name, ledger, range(100, 150, 3)[::step])


def _beside(ours: list[Result], reference: list[Result]) -> dict[str, Any]:
    """Compare ours with the reference: how much of the difference is the same in all poses, and whose fit the edges."""
    pairs = [(a.pose, a, b) for a, b in zip(ours, reference, strict=True) if a.pose is not None]
    between = [pose.inverse() * b.true_pose for pose, _, b in pairs]  # in the bone's frame
    turns = np.degrees([one.rotation_vector for one in between])
    shifts = np.array([one.translation_mm for one in between])
    left_deg = np.linalg.norm(turns - np.median(turns, axis=0), axis=1)
    left_mm = np.linalg.norm(shifts - np.median(shifts, axis=0), axis=1)
    seen = [(a.extra, b.extra, apart) for (_, a, b), apart in zip(pairs, shifts, strict=True) if a.extra and b.extra]
    both = ("view1_px", "view2_px")
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
            "outline_to_edge_px": float(away[far, 0].mean()),
            "reference_outline_to_edge_px": float(away[far, 1].mean()),
            "edges_nearer_to_ours_share": float(np.mean(away[far, 0] < away[far, 1])),
        },
    }


def _mean(results: list[Result], name: str) -> float | None:
    values = [r.extra[name] for r in results if name in r.extra]
    return float(np.mean(values)) if values else None


def _edges(trial: OpenTrial, number: int, frames: list[NDArray[np.float32]], pose: Pose) -> dict[str, float]:
    """Measure every fifth frame only: the outline of so many triangles takes far longer than the refinement."""
    found: dict[str, float] = {}
    if number % 5:
        return found
    for k, (scope, frame) in enumerate(zip(trial.rig.fluoroscopes, frames, strict=True), start=1):
        edges = edge_distances(scope, frame, pose, trial.bone.vertices, trial.bone.faces, _CLEAR)
        found |= {f"view{k}_px": edges.mean_px, f"view{k}_signed_px": float(np.median(edges.signed))}
        along_u, along_v, growth = (float(one) for one in edges.shift_px)
        found |= {f"view{k}_shift_u_px": along_u, f"view{k}_shift_v_px": along_v, f"view{k}_growth_px": growth}
    return found


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


def _simulated(
    trial: OpenTrial, renderer: Callable[[], Renderer], refiner: Refiner, name: str, ledger: Ledger, numbers: range
) -> dict[str, Any]:
    """Refine X-rays drawn at the reference poses from finer voxels; starts as far off as the real ones are."""
    results = []
    for number in track(numbers, "knee: simulated"):
        start, truth = trial.landmark_poses.get(number), trial.truth[number]
        if start is None:
            results.append(of_refinement(None, truth))
            continue

        def compute(n: int = number, s: Pose = start, t: Pose = truth) -> Result:
            frames = _draw(trial, renderer(), t, n)
            watch = Stopwatch()
            found = refiner.refine(frames, s)
            return of_refinement(found, t, watch.read())

        results.append(ledger.get(f"simulated {number} {name}", compute))
    where = "X-rays simulated at the reference poses"
    return row("knee", name, results, trial.bone.landmarks_mm, failure_mm=FAILURE_MM, frames=where)


def _finer(bone: Bone, data_dir: Path, spacing_mm: float) -> Bone:
    """Build the bone once more, with smaller voxels."""
    config = read_bone_config(HERE / "configs/knee_femur_bone.toml", data_dir)
    assert config.mesh is not None
    fine = build_bone(config.model_copy(update={"mesh": config.mesh.model_copy(update={"spacing_mm": spacing_mm})}))
    if not np.allclose(fine.bone_from_source.matrix, bone.bone_from_source.matrix, atol=1e-6):
        raise SystemExit("the finer implant lies elsewhere in its frame")
    return fine


def _draw(trial: OpenTrial, renderer: Renderer, truth: Pose, seed: int) -> list[NDArray[np.float32]]:
    """Draw frames: tissue that varies smoothly, the metal, scatter, blur of 1.5 pixels, noise, 8 bits."""
    rng = np.random.default_rng(seed)
    found = []
    for scope in trial.rig.fluoroscopes:
        line = renderer.render(scope.view, truth)
        tissue = 1.2 + 0.6 * gaussian_filter(rng.normal(size=line.shape), 60) * 60 * 3.5 / 2
        signal = np.exp(-line - np.clip(tissue, 0.2, 3)) + 0.06
        blurred = np.asarray(cv2.GaussianBlur(signal.astype(np.float32), (0, 0), 1.5))
        noisy = blurred + 0.01 * np.sqrt(blurred) * rng.normal(size=line.shape)
        found.append((1 - np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32))
    return found
