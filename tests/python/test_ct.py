"""Reading CTs: formats, axes, units and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset

from fluoropose.errors import FileFormatError
from fluoropose.io.ct import MU_WATER_PER_MM, attenuation_from_hu, read_ct, read_labels


def ramp(dtype: type = np.int16) -> np.ndarray:
    z, y, x = np.meshgrid(np.arange(5), np.arange(6), np.arange(7), indexing="ij")
    return (100 * z + 10 * y + x - 200).astype(dtype)


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (0.5, 0.6, 2.0), turned: bool = False) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((10.0, -20.0, 30.0))
    if turned:
        image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(path))


def write_dicom(folder: Path, heights: list[float], tilt: float = 0.0) -> None:
    series = pydicom.uid.generate_uid()
    for i, z in enumerate(heights):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        slice_ = FileDataset(str(folder / f"{i}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.SeriesInstanceUID, slice_.InstanceNumber = "CT", series, i + 1
        slice_.Rows, slice_.Columns, slice_.PixelSpacing = 6, 7, [0.6, 0.5]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [10, -20 + tilt * z, z]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleIntercept, slice_.RescaleSlope = "-1024", "1"
        slice_.PixelData = (ramp()[i % 5] + 1024).astype(np.int16).tobytes()
        slice_.save_as(folder / f"{i}.dcm", enforce_file_format=True)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha"])
@pytest.mark.parametrize("turned", [False, True])
def test_formats_agree_on_where_voxels_lie(tmp_path: Path, name: str, turned: bool) -> None:
    write(tmp_path / name, ramp(), turned=turned)
    ct = read_ct(tmp_path / name)
    np.testing.assert_array_equal(ct.hu, ramp())
    step = np.array([0.5 * 3, 0.6 * 2, 2.0 * 1])
    expected = np.array([10.0, -20.0, 30.0]) + (step[[2, 0, 1]] * [1, 1, -1] if turned else step)
    np.testing.assert_allclose((ct.ct_from_voxel @ [3, 2, 1, 1])[:3], expected, atol=1e-5)


def test_dicom_folder(tmp_path: Path) -> None:
    write_dicom(tmp_path, [0.0, 2.0, 4.0, 6.0, 8.0])
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, ramp())
    np.testing.assert_allclose((ct.ct_from_voxel @ [3, 2, 1, 1])[:3], [11.5, -18.8, 2.0], atol=1e-6)


def test_missing_dicom_slice(tmp_path: Path) -> None:
    write_dicom(tmp_path, [0.0, 2.0, 6.0, 8.0])
    with pytest.raises(FileFormatError, match="a slice is missing"):
        read_ct(tmp_path)


def test_tilted_gantry(tmp_path: Path) -> None:
    write_dicom(tmp_path, [0.0, 2.0, 4.0, 6.0], tilt=0.1)
    with pytest.raises(FileFormatError, match=r"shifted sideways by up to 0\.6 mm"):
        read_ct(tmp_path)


def test_two_series(tmp_path: Path) -> None:
    write_dicom(tmp_path, [0.0, 2.0])
    (tmp_path / "b").mkdir()
    write_dicom(tmp_path / "b", [0.0, 2.0])
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / f"other_{file.name}")
    with pytest.raises(FileFormatError, match="expected one DICOM series, found 2"):
        read_ct(tmp_path)


def test_metres(tmp_path: Path) -> None:
    write(tmp_path / "ct.nii", ramp(), spacing=(0.0005, 0.0006, 0.002))
    with pytest.raises(FileFormatError, match=r"ct\.nii: spacing: expected millimetres"):
        read_ct(tmp_path / "ct.nii")


def test_not_a_number(tmp_path: Path) -> None:
    bad = ramp(np.float32)
    bad[1, 2, 3] = np.nan
    write(tmp_path / "ct.nrrd", bad)
    with pytest.raises(FileFormatError, match="NaN"):
        read_ct(tmp_path / "ct.nrrd")


def test_attenuation_instead_of_hounsfield_units(tmp_path: Path) -> None:
    write(tmp_path / "mu.nrrd", (ramp(np.float32) + 200) * 1e-4)
    with pytest.raises(FileFormatError, match="Hounsfield"):
        read_ct(tmp_path / "mu.nrrd")


def test_stored_values_without_their_intercept(tmp_path: Path) -> None:
    write(tmp_path / "stored.nrrd", ramp() + 1024)
    with pytest.raises(FileFormatError, match=r"stored\.nrrd: expected Hounsfield units, with air"):
        read_ct(tmp_path / "stored.nrrd")


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"ct\.nii\.gz"):
        read_ct(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_truncated(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, np.tile(ramp(), (10, 10, 10)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(FileFormatError, match=name):
        read_ct(path)


def test_labels_must_be_whole(tmp_path: Path) -> None:
    write(tmp_path / "labels.nrrd", ramp(np.float32) + 0.5)
    with pytest.raises(FileFormatError, match="whole numbers"):
        read_labels(tmp_path / "labels.nrrd")


def test_attenuation_scale() -> None:
    mu = attenuation_from_hu(np.array([-1000, -950, -500, 0, 1000]))
    np.testing.assert_allclose(mu, np.array([0, 0, 0.5, 1, 2]) * MU_WATER_PER_MM, rtol=1e-6)


@pytest.mark.needs_data
def test_oblique_and_permuted_axes(data_dir: Path) -> None:
    """The two scans show one phantom: their bone-like plastic must lie at heights of one order, in LPS."""
    tilted = read_ct(data_dir / "head_ct" / "plastic_skull_oblique_2p5mm.nii.gz")
    assert not np.allclose(np.diag(np.diag(tilted.ct_from_voxel[:3, :3])), tilted.ct_from_voxel[:3, :3], atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(tilted.ct_from_voxel[:3, :3], axis=0), [0.4824, 0.4824, 2.5], atol=1e-3)
    permuted = read_ct(next((data_dir / "spine_ct").glob("tptbox_sub-ct_*ct.nii.gz")))
    axes = np.abs(permuted.ct_from_voxel[:3, :3]).argmax(axis=0)
    assert sorted(axes.tolist()) == [0, 1, 2]
    assert axes.tolist() != [0, 1, 2]
