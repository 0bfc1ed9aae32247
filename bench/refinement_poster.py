"""One view of a trunk: Table 1 of Chen et al., "SOPI" (ICASSP 2024), with their offsets, on a CT that can be had.

The fixed image comes from the simulator with all soft tissue, scatter, blur and noise; the moving one from bone alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from rich.progress import track

from fluoropose.drr import Renderer
from fluoropose.geometry import Pose, View
from fluoropose.io.ct import attenuation_from_hu
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
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp
from fluoropose.volume import Volume
from refinement_ledger import Ledger, Result, failure_rate, of_refinement, row

__all__ = ["poster_rows"]

_SIDE, _VOXEL_MM = 128, 2.0
_BONE_HU, _TISSUE_HU = 180.0, 60.0
_OFFSETS = np.array([np.radians(13.0)] * 3 + [30.0] * 3)
_LEVEL_MM = 12.0  # half a thoracic vertebra with its disc: further along the spine is another level
# Behind a trunk one part in 150 of the beam is left; what scatter an anti-scatter grid lets through is as much again.
_CHAIN = ImageChain(scatter_share=0.006, blur_mm=0.5, electronic_noise=1e-4, bits=16)


@dataclass(frozen=True, eq=False)
class Trunk:
    """The CT on a grid of 128^3, centred on its own origin."""

    hu: NDArray[np.float32]

    @cached_property
    def place(self) -> NDArray[np.float64]:
        """Bone frame from voxel: the grid's middle is the origin."""
        matrix = np.diag([_VOXEL_MM] * 3 + [1.0])
        matrix[:3, 3] = -_VOXEL_MM * (_SIDE - 1) / 2
        return matrix

    @cached_property
    def whole(self) -> Renderer:
        """Everything."""
        return Renderer(Volume(attenuation_from_hu(self.hu), self.place))

    @cached_property
    def bone(self) -> MovingBone:
        """Bone alone: what it attenuates more than the tissue that would be in its place, so that no step is cut."""
        tissue = attenuation_from_hu(np.array([_TISSUE_HU]))[0]
        return MovingBone(Volume(np.maximum(attenuation_from_hu(self.hu) - tissue, 0), self.place))

    @cached_property
    def targets_mm(self) -> NDArray[np.float64]:
        """(n, 3) places in the bone, for the mTRE."""
        voxels = np.argwhere(self.hu > _BONE_HU)[:, ::-1]
        chosen = np.random.default_rng(0).choice(len(voxels), 400, replace=False)
        return voxels[chosen] @ self.place[:3, :3].T + self.place[:3, 3]

    @classmethod
    def read(cls, data: Path) -> Trunk:
        """Resample the thoracic CT to 128^3 voxels of 2 mm round its middle."""
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
        return cls(np.asarray(sitk.GetArrayFromImage(grid), dtype=np.float32))


def poster_rows(data: Path, ledger: Ledger, starts: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "poster"."""
    trunk = Trunk.read(data)
    ncc_log = WeightedSum((CrossCorrelation(), LaplacianCorrelation(1.0)), (1.0, 0.5))
    information, correlation = GradientInformation(), GradientCorrelation()
    box = Box(16.0, 36.0)
    bounded, evolution = Lbfgs(box, evaluations=60), CmaEs(box, evaluations=300)
    three = Schedule(3, reach_px=8.0)
    # Chosen on other cases: tiles, smaller in small images, keep the lungs' and the diaphragm's edges from outweighing
    # the spine's.
    ours: dict[str, Any] = {
        "schedule": Schedule(4, reach_px=8.0),
        "metric": GradientCorrelation(tile_px=32, tiles_across=4),
    }
    methods: dict[str, tuple[dict[str, Any], int]] = {
        "our LM, 1 start": (ours, starts),
        "our LM, 9 starts": (ours | {"starts": Starts(9, 13.0, 30.0)}, starts),
        "our LM, 64 starts and 24 turns": (ours | {"starts": Starts(64, 13.0, 30.0, kept=9, turns=8)}, starts),
        "our LM, 96 starts and 36 turns": (ours | {"starts": Starts(96, 13.0, 30.0, kept=18, turns=12)}, starts),
        "Opt-NCC, L-BFGS-B": ({"metric": ncc_log, "optimiser": bounded, "schedule": three}, starts // 5),
        "Opt-NGI, L-BFGS-B": ({"metric": information, "optimiser": bounded, "schedule": three}, starts // 5),
        "Opt-GC, L-BFGS-B": ({"metric": correlation, "optimiser": bounded, "schedule": three}, starts // 5),
        "Opt-NCC, CMA-ES": ({"metric": ncc_log, "optimiser": evolution, "schedule": three}, starts // 10),
        "Opt-NGI, CMA-ES": ({"metric": information, "optimiser": evolution, "schedule": three}, starts // 10),
        "Opt-GC, CMA-ES": ({"metric": correlation, "optimiser": evolution, "schedule": three}, starts // 10),
    }
    cases = [Case(trunk, seed) for seed in range(starts)]
    initial = [of_refinement(case.start, case.truth, 0.0) for case in cases]
    yield _row("initial", initial, trunk)
    for name, (settings, count) in methods.items():
        results = [
            ledger.get(f"{name} {case.seed}", partial(_run, case, settings))
            for case in track(cases[: max(count, 1)], f"poster: {name}")
        ]
        yield _row(name, results, trunk)


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


def _run(case: Case, settings: dict[str, Any]) -> Result:
    fixed = [case.fixed()]
    began = time.perf_counter()
    found = refine(case.trunk.bone, fixed, case.start, **settings)
    return of_refinement(found, case.truth, time.perf_counter() - began)


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
