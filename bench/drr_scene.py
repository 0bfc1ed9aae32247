"""What the benchmarks of the renderer render: the head CT as a cube of any side, seen from four directions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr_speed import THETA_DEG, Subject, centred, synthetic_head
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from drr_reference import line_integrals  # type: ignore[import-not-found]

__all__ = ["POSES", "SUBJECTS", "Reference", "head_cube", "make_view", "relative_rms", "step_mm", "subject"]

SIDE_MM = 256.0  # of the cube; a head fits
_CENTRE_MM = (248.0, 240.0, 1616.5)  # of the head in the CT's frame
_DETECTOR_MM, _SDD_MM, _DEPTH_MM = 307.0, 1000.0, 300.0  # the cube's centre lies that deep before the image plane

# Mostly along the head's y, z, between the two, and x: renderers walk the volume in another order for each axis.
_THETA_DEG = (*THETA_DEG, [10.0, 88.0, -20.0])
POSES = tuple(Pose.from_euler_zyx_deg(theta, [0.0, 0.0, -_DEPTH_MM]) for theta in _THETA_DEG)
SUBJECTS = ("head_ct", "synthetic")


def make_view(pixels: int) -> View:
    """Return a point source's view of pixels x pixels that always covers the same square."""
    pitch = _DETECTOR_MM / pixels
    return View.from_sdd((pixels, pixels), _SDD_MM, pitch, pitch, 0.0, 0.0)


def head_cube(data: Path, side: int) -> Subject:
    """Return the head of the CT in a cube of side^3 voxels, interpolated linearly, with its bone above 300 HU."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(data / "head_ct" / "vhf_head_ct.nii.gz"))
    spacing = SIDE_MM / side
    origin = [c - (side - 1) / 2 * spacing for c in _CENTRE_MM]
    cube = sitk.Resample(
        image, [side] * 3, sitk.Transform(), sitk.sitkLinear, origin, [spacing] * 3, np.eye(3).ravel().tolist(), -1024
    )
    hu = sitk.GetArrayFromImage(cube).astype(np.float32)
    mu = 0.02 * np.clip(1 + hu / 1000, 0, None)
    mu[hu < -700] = 0
    return Subject(centred(mu, (spacing,) * 3), hu > 300, np.zeros((33, 3)))


def subject(data: Path | None, side: int) -> tuple[str, Subject]:
    """Return the CT's head where there is data, else a drawn one, with its name."""
    if data is not None:
        return SUBJECTS[0], head_cube(data, side)
    drawn = synthetic_head(side)
    return SUBJECTS[1], Subject(centred(drawn.volume.mu, (SIDE_MM / side,) * 3), drawn.mask, drawn.landmarks_mm)


def step_mm(volume: Volume, view: View, pose: Pose) -> float:
    """Return how far Joseph's samples, one per slice, lie apart along the central ray."""
    along = pose.rotation.T @ (view.centre - view.source)
    return float(volume.spacing_mm.min() * np.linalg.norm(along) / np.abs(along).max())


@dataclass(frozen=True, eq=False)
class Reference:
    """Exact line integrals of the interpolated volume, float64, at random pixels of one pose."""

    pixels: NDArray[np.intp]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, volume: Volume, view: View, pose: Pose, count: int = 4000) -> Reference:
        """Integrate along the rays of ``count`` pixels."""
        pixels = np.random.default_rng(0).integers(0, view.width, (count, 2))
        chunks = np.array_split(pixels.astype(np.float64), max(1, count // 500))
        return cls(pixels, np.concatenate([line_integrals(volume, view, pose, chunk) for chunk in chunks]))


def relative_rms(image: NDArray[np.floating], exact: Reference) -> float:
    """Return an image's root mean square error as a share of the exact image's range."""
    error = image[exact.pixels[:, 1], exact.pixels[:, 0]] - exact.values
    return float(np.sqrt((error**2).mean()) / np.ptp(exact.values))
