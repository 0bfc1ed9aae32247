"""Computed tomography: reading volumes in Hounsfield units, and turning these into attenuation."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.errors import FileFormatError

__all__ = ["MU_WATER_PER_MM", "Ct", "attenuation_from_hu", "read_ct", "read_labels"]

MU_WATER_PER_MM = 0.02059
"""Linear attenuation of water at 60 keV (NIST XCOM: 0.2059 cm2/g), near the mean energy behind a head at 70-80 kVp."""

_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_FINEST_MM, _COARSEST_MM = 0.02, 20.0
_POSITION = "0020|0032"  # DICOM tag of Image Position (Patient)
_SIDEWAYS_MM = 0.2
_UNEVEN = 0.01  # share of the slice distance by which DICOM positions may differ; a missing slice doubles it


@dataclass(frozen=True, eq=False)
class Ct:
    """A CT volume.

    Attributes
    ----------
    hu
        (nz, ny, nx) Hounsfield units, in the file's number type.
    ct_from_voxel
        (4, 4) affine map of voxel indices (x, y, z) to DICOM LPS mm.
    """

    hu: NDArray[np.number]
    ct_from_voxel: NDArray[np.float64]

    @property
    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest LPS coordinates (3,) of its voxels' corners, mm."""
        sides = [(-0.5, count - 0.5) for count in self.hu.shape[::-1]]
        corners = np.array(list(itertools.product(*sides))) @ self.ct_from_voxel[:3, :3].T + self.ct_from_voxel[:3, 3]
        return corners.min(axis=0), corners.max(axis=0)


def read_ct(path: str | Path) -> Ct:
    """Read a CT.

    Parameters
    ----------
    path
        A folder with one DICOM series, or a NIfTI, NRRD or MetaImage file.

    Raises
    ------
    FileFormatError
        If it cannot be read, is no three-dimensional scalar volume, holds NaN, has voxels too small or large for
        millimetres, misses DICOM slices or has them shifted sideways (gantry tilt), or cannot be in Hounsfield units.
    """
    hu, place = _read(Path(path))
    low, high = float(np.min(hu)), float(np.max(hu))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FileFormatError(f"{path}: expected finite Hounsfield units, found NaN or infinity")
    if low < -33000 or high > 70000 or high - low < 50:
        raise FileFormatError(f"{path}: expected Hounsfield units, found values from {low:g} to {high:g}")
    if low >= 0:
        raise FileFormatError(
            f"{path}: expected Hounsfield units, with air near -1000, found nothing below {low:g}: "
            "stored values without their intercept, or a volume whose surroundings were erased?"
        )
    return Ct(hu, place)


def read_labels(path: str | Path) -> Ct:
    """Read a label map (whole numbers) in the same formats as `read_ct`; ``hu`` then holds the labels."""
    labels, place = _read(Path(path))
    if labels.dtype.kind not in "iu" and not np.array_equal(labels, np.round(labels.astype(np.float64))):
        raise FileFormatError(f"{path}: expected whole numbers as labels, found {labels.dtype}")
    return Ct(np.round(labels.astype(np.float64)).astype(np.int32), place)


def attenuation_from_hu(
    hu: NDArray[np.number], *, mu_water_per_mm: float = MU_WATER_PER_MM, air_below_hu: float = -900.0
) -> NDArray[np.float32]:
    """Return linear attenuation in 1/mm: mu = mu_water (1 + HU / 1000), zero below ``air_below_hu``.

    Bone attenuates more than this linear scale says at low energies; networks are trained over a range of contrasts.
    """
    water = positive("mu_water_per_mm", mu_water_per_mm)
    values = hu.astype(np.float32)
    mu = np.maximum(np.float32(water) * (1 + values / 1000), 0)
    mu[values < air_below_hu] = 0
    return np.asarray(mu, dtype=np.float32)


def _read(path: Path) -> tuple[NDArray[np.number], NDArray[np.float64]]:
    if not path.exists():
        raise FileFormatError(f"{path}: no such file or folder")
    try:
        image = _read_series(path) if path.is_dir() else _read_file(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FileFormatError(f"{path}: cannot be read as a volume: {reason}") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise FileFormatError(f"{path}: expected one three-dimensional scalar volume, found {image.GetSize()}")
    spacing = np.array(image.GetSpacing())
    if spacing.min() < _FINEST_MM or spacing.max() > _COARSEST_MM:
        raise FileFormatError(
            f"{path}: spacing: expected millimetres between {_FINEST_MM} and {_COARSEST_MM}, found {spacing.tolist()}"
        )
    place = np.eye(4)
    place[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * spacing
    place[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), place


def _read_file(path: Path) -> sitk.Image:
    if not path.name.lower().endswith(_SUFFIXES):
        raise FileFormatError(f"{path}: expected a DICOM folder or a file ending in {', '.join(_SUFFIXES)}")
    if path.name.lower().endswith(".gz"):
        _require_whole_gzip(path)
    elif path.name.lower().endswith(".nii"):
        _require_whole_nifti(path)
    image: sitk.Image = sitk.ReadImage(str(path))
    return image


def _require_whole_gzip(path: Path) -> None:
    """Raise unless a compressed file is complete: ITK fills what is missing with whatever lies in memory."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 24):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path}: truncated or damaged: {error}") from error


def _require_whole_nifti(path: Path) -> None:
    """Raise unless a NIfTI-1 file holds all the voxels that its header announces; ITK does not mind."""
    with path.open("rb") as file:
        header = file.read(348)
    if len(header) < 348:
        raise FileFormatError(f"{path}: truncated: expected a NIfTI header of 348 bytes, found {len(header)}")
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    if struct.unpack_from(order + "i", header)[0] != 348:
        return  # not NIfTI-1: left to the reader
    dimensions = struct.unpack_from(order + "8h", header, 40)
    bits = struct.unpack_from(order + "h", header, 72)[0]
    offset = int(struct.unpack_from(order + "f", header, 108)[0])
    expected = offset + int(np.prod([max(n, 1) for n in dimensions[1:]], dtype=np.int64)) * bits // 8
    if path.stat().st_size < expected:
        raise FileFormatError(f"{path}: truncated: expected {expected} bytes, found {path.stat().st_size}")


def _read_series(folder: Path) -> sitk.Image:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise FileFormatError(f"{folder}: expected one DICOM series, found {len(series)}")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    image: sitk.Image = reader.Execute()
    count = image.GetSize()[2]
    placed = [reader.GetMetaData(i, _POSITION) for i in range(count) if reader.HasMetaDataKey(i, _POSITION)]
    if len(placed) != count:
        raise FileFormatError(f"{folder}: expected a position (0020,0032) in {count} slices, found {len(placed)}")
    _require_stack(folder, np.array([[float(x) for x in p.split("\\")] for p in placed]), image)
    return image


def _require_stack(folder: Path, positions: NDArray[np.float64], image: sitk.Image) -> None:
    """Raise unless slices (n, 3) LPS mm stand evenly, one straight above the other: ITK makes a grid of any others."""
    if len(positions) < 2:
        return
    columns = np.array(image.GetDirection()).reshape(3, 3)
    gaps = np.diff(positions @ columns[:, 2])
    if gaps.max() - gaps.min() > _UNEVEN * abs(float(np.median(gaps))):
        raise FileFormatError(
            f"{folder}: expected evenly spaced slices, found distances from {gaps.min():.4g} to {gaps.max():.4g} mm: "
            "a slice is missing or doubled"
        )
    shift = float(np.abs((positions - positions[0]) @ columns[:, :2]).max())
    if shift > _SIDEWAYS_MM:
        raise FileFormatError(
            f"{folder}: expected slices straight above each other, found them shifted sideways by up to {shift:.4g} mm "
            "(a tilted gantry): resample the series to a straight grid first"
        )
