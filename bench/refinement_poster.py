"""One view of a trunk: Table 1 of Chen et al., "SOPI" (ICASSP 2024), with their offsets, on a CT that can be had.

The fixed image comes from the simulator with all soft tissue, scatter, blur and noise; the moving one from bone alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from fluoropose._files import atomic_path
from fluoropose.drr import Device, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.refinement import (
    CmaEs,
    CrossCorrelation,
    FixedView,
    GradientCorrelation,
    GradientInformation,
    LaplacianCorrelation,
    Lbfgs,
    MovingBone,
    Schedule,
    Starts,
    WeightedSum,
    moved,
    refine,
)
from fluoropose.refinement.peers import Box
from fluoropose.refinement.similarity import Metric
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp
from fluoropose.volume import Volume
from refinement_ledger import Ledger, Result, Stopwatch, failure_rate, of_refinement, row

__all__ = ["Trunk", "our_poster_rows", "poster_rows"]

_SIDE, _VOXEL_MM = 128, 2.0
_BONE_HU, _TISSUE_HU = 180.0, 60.0
_OFFSETS = np.array([np.radians(13.0)] * 3 + [30.0] * 3)
_TIMED = 5
_LEVEL_MM = 12.0  # half a thoracic vertebra with its disc: further along the spine is another level
# Behind a trunk one part in 150 of the beam is left; what scatter an anti-scatter grid lets through is as much again.
_CHAIN = ImageChain(scatter_share=0.006, blur_mm=0.5, electronic_noise=1e-4, bits=16)


@dataclass(frozen=True, eq=False)
class Trunk:
    """The CT on a grid of 128^3, centred on its own origin.

    ``whole_mu`` and ``bone_mu`` (128, 128, 128) are attenuations in 1/mm: of everything, and of the bone, what it
    attenuates more than the tissue that would be in its place, so that no step is cut. ``targets_mm`` (n, 3) are places
    in the bone, for the mTRE. ``device`` is where the bone is rendered.
    """

    whole_mu: NDArray[np.float32]
    bone_mu: NDArray[np.float32]
    targets_mm: NDArray[np.float64]
    device: Device = "cpu"

    @cached_property
    def whole(self) -> Renderer:
        """Everything."""
        return Renderer(Volume(self.whole_mu, _place()))

    @cached_property
    def bone(self) -> MovingBone:
        """Bone alone."""
        return MovingBone(Volume(self.bone_mu, _place()), self.device)

    @classmethod
    def read(cls, data: Path) -> Trunk:
        """Resample the thoracic CT to 128^3 voxels of 2 mm round its middle."""
        import SimpleITK as sitk

        from fluoropose.io.ct import attenuation_from_hu

        image = sitk.ReadImage(str(data / "spine_ct/lidc0314_thoracic_ct.nii.gz"), sitk.sitkFloat32)
        middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        blurred = sitk.SmoothingRecursiveGaussian(image, 0.4 * _VOXEL_MM)
        origin = middle - _VOXEL_MM * (_SIDE - 1) / 2
        grid = sitk.Resample(
            blurred,
            [_SIDE] * 3,
            sitk.Transform(),
            sitk.sitkLinear,
            origin.tolist(),
            [_VOXEL_MM] * 3,
            np.eye(3).ravel().tolist(),
            -1000.0,
        )
        hu = np.asarray(sitk.GetArrayFromImage(grid), dtype=np.float32)
        whole, tissue = attenuation_from_hu(hu), attenuation_from_hu(np.array([_TISSUE_HU]))[0]
        voxels = np.argwhere(hu > _BONE_HU)[:, ::-1]
        chosen = voxels[np.random.default_rng(0).choice(len(voxels), 400, replace=False)]
        return cls(whole, np.maximum(whole - tissue, 0), chosen @ _place()[:3, :3].T + _place()[:3, 3])

    def save(self, path: Path) -> None:
        """Write what `load` reads, for machines without SimpleITK or the CT."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, whole_mu=self.whole_mu, bone_mu=self.bone_mu, targets_mm=self.targets_mm)

    @classmethod
    def load(cls, path: Path, device: Device) -> Trunk:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(file["whole_mu"], file["bone_mu"], file["targets_mm"], device)


def _place() -> NDArray[np.float64]:
    """Bone frame from voxel: the grid's middle is the origin."""
    matrix = np.diag([_VOXEL_MM] * 3 + [1.0])
    matrix[:3, 3] = -_VOXEL_MM * (_SIDE - 1) / 2
    return matrix


@dataclass(frozen=True)
class Method:
    """What is done one after the other, each from where the last ended, and of how many of 500 starts."""

    stages: tuple[dict[str, Any], ...]
    share: float = 1.0


def poster_rows(data: Path, ledger: Ledger, starts: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "poster"; the clock's seconds are of the first starts, done once more at the end."""
    trunk = Trunk.read(data)
    cases = [Case(trunk, seed) for seed in range(starts)]
    yield _row("initial", [of_refinement(case.start, case.truth) for case in cases], trunk)
    done = {name: _results(name, method, cases, ledger) for name, method in _methods().items()}
    for name, results in done.items():
        again = [
            ledger.get(f"clock {name} {case.seed}", partial(_run, case, _methods()[name].stages))
            for case in track(cases[:_TIMED], f"poster: {name}, by the clock")
        ]
        seconds = {"seconds_per_pair": float(np.median([one.seconds for one in again])), "timed_pairs": len(again)}
        yield _row(name, results, trunk) | seconds


def our_poster_rows(trunk: Trunk, starts: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of our own methods on the trunk's device, of so many cases; seconds: the clock's median."""
    cases = [Case(trunk, seed) for seed in range(starts)]
    fixed = [case.fixed() for case in track(cases, "poster: frames")]
    for name, method in _methods().items():
        if name.startswith("our LM"):
            _run(cases[0], method.stages, fixed[0])  # memory is found
            pairs = zip(cases, fixed, strict=True)
            results = [_run(case, method.stages, one) for case, one in track(list(pairs), f"poster: {name}")]
            seconds = float(np.median([one.seconds for one in results]))
            slow = float(np.percentile([one.seconds for one in results], 95))
            yield _row(name, results, trunk) | {"seconds_per_pair": seconds, "p95_seconds": slow}


def _results(name: str, method: Method, cases: Sequence[Case], ledger: Ledger) -> list[Result]:
    count = max(1, round(method.share * len(cases)))
    return [
        ledger.get(f"{name} {case.seed}", partial(_run, case, method.stages))
        for case in track(cases[:count], f"poster: {name}")
    ]


def _methods() -> dict[str, Method]:
    # Chosen on other cases: tiles, smaller in small images, keep the lungs' and the diaphragm's edges from outweighing
    # the spine's.
    ours: dict[str, Any] = {
        "schedule": Schedule(4, reach_px=8.0),
        "metric": GradientCorrelation(tile_px=32, tiles_across=4),
    }

    def from_starts(starts: Starts, share: float = 1.0) -> Method:
        return Method((ours | {"starts": starts},), share)

    metrics: dict[str, Metric] = {
        "Opt-NCC": WeightedSum((CrossCorrelation(), LaplacianCorrelation(1.0)), (1.0, 0.5)),
        "Opt-NGI": GradientInformation(),
        "Opt-GC": GradientCorrelation(),
    }
    methods = {
        "our LM, 64 starts and 36 turns": from_starts(Starts(64, 13.0, 30.0, kept=18, turns=12)),
        "our LM, 64 starts and 24 turns": from_starts(Starts(64, 13.0, 30.0, kept=9, turns=8)),
        "our LM, 9 starts": from_starts(Starts(9, 13.0, 30.0), 0.2),
        "our LM, 1 start": from_starts(Starts(1), 0.2),
    }
    for name, metric in metrics.items():
        whole = Schedule(3, reach_px=8.0)
        bounded = {"metric": metric, "optimiser": Lbfgs(Box(16.0, 36.0), evaluations=60), "schedule": whole}
        methods[f"{name}, L-BFGS-B"] = Method((bounded,), 0.1)
    for name, metric in metrics.items():
        # Wide in small images, then ever closer: one box for all would begin at random again in every size.
        evolution = (
            (CmaEs(Box(16.0, 36.0), evaluations=2000, population=40), Schedule(3, reach_px=8.0, skipped=2)),
            (CmaEs(Box(4.0, 8.0), evaluations=300), Schedule(2, reach_px=8.0, skipped=1)),
            (CmaEs(Box(1.5, 4.0), evaluations=150), Schedule(1, reach_px=8.0)),
        )
        stages = tuple({"metric": metric, "optimiser": one, "schedule": schedule} for one, schedule in evolution)
        methods[f"{name}, CMA-ES"] = Method(stages, 0.05)
    return methods


class Case:
    """A random pose with its frame, and a start off by up to 13 degrees and 30 mm per axis."""

    def __init__(self, trunk: Trunk, seed: int) -> None:
        rng = np.random.default_rng([7, seed])
        self.trunk, self.seed = trunk, seed
        # The ray runs from front to back, +-15 degrees; the head is up.
        nominal = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        turn = Pose.exp(np.radians(rng.uniform(-15, 15, 3)), np.zeros(3)).rotation
        depth = rng.uniform(600.0, 760.0)
        self.view = View.from_sdd((256, 256), 1011.7, 0.79836, 0.79836, 0.0, 0.0)
        self.truth = Pose(turn @ nominal, np.array([*rng.uniform(-10, 10, 2), -1011.7 + depth]))
        self.start = moved(self.truth, rng.uniform(-1, 1, 6) * _OFFSETS)

    def fixed(self) -> FixedView:
        """Simulate the frame."""
        line = self.trunk.whole.render(self.view, self.truth)
        scope = SimulatedFluoroscope(self.view, IntensifierWarp(radius_mm=200.0), _CHAIN)
        stored = scope.record(line, Exposure(0.95, quanta=2e6), np.random.default_rng(self.seed))
        signal = stored.astype(np.float32) / 65535
        return FixedView(self.view, -np.log(signal + np.float32(1e-3)), np.ones((256, 256), np.float32))


def _run(case: Case, stages: Sequence[dict[str, Any]], frame: FixedView | None = None) -> Result:
    fixed, pose, iterations = [case.fixed() if frame is None else frame], case.start, 0
    watch = Stopwatch()
    for settings in stages:
        found = refine(case.trunk.bone, fixed, pose, **settings)
        pose, iterations = found.world_from_bone, iterations + sum(level.iterations for level in found.levels)
    return replace(of_refinement(found, case.truth, watch.read()), iterations=iterations)


def _row(name: str, results: Sequence[Result], trunk: Trunk) -> dict[str, Any]:
    """Return the usual row, with the poster's: per-axis errors, depth apart, other limits and wrong levels."""
    rotation, in_plane, depth, along = [], [], [], []
    for result in results:
        if result.pose is None:
            continue
        relative = result.pose.rotation @ result.true_pose.rotation.T
        rotation.append(np.abs(np.degrees(Pose(relative, np.zeros(3)).rotation_vector)))
        shift = result.pose.translation_mm - result.true_pose.translation_mm
        in_plane.append(np.abs(shift[:2]))
        depth.append(abs(shift[2]))
        along.append(abs(result.true_pose.rotation[:, 2] @ shift))
    return row(
        "poster",
        name,
        results,
        trunk.targets_mm,
        failure_mm=10.0,
        device=trunk.device,
        rotation_per_axis_deg=_spread(rotation),
        in_plane_per_axis_mm=_spread(in_plane),
        depth_mm=_spread(depth),
        translation_per_axis_mm=_spread([np.append(p, d) for p, d in zip(in_plane, depth, strict=True)]),
        failure_rate_5_mm=failure_rate(results, trunk.targets_mm, 5.0),
        failure_rate_2_mm=failure_rate(results, trunk.targets_mm, 2.0),
        wrong_level_rate=float(np.mean(np.array(along) > _LEVEL_MM)),
    )


def _spread(values: Sequence[Any]) -> dict[str, float]:
    pooled = np.concatenate([np.atleast_1d(v) for v in values])
    return {"mean": float(pooled.mean()), "sd": float(pooled.std(ddof=1)), "median": float(np.median(pooled))}
