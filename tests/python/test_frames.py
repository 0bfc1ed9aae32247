"""Sources of frames, and the faults that frames can have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from fluoropose.errors import FileFormatError, InputError
from fluoropose.io.frames import open_frames
from fluoropose.io.stored_frame import attenuating, why_unusable


def stack(count: int, dtype: type = np.uint8, size: tuple[int, int] = (48, 64)) -> NDArray[np.generic]:
    rng = np.random.default_rng(7)
    top = 1.0 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    return (rng.random((count, *size)) * top).astype(dtype)


def write_pngs(folder: Path, frames: NDArray[np.generic]) -> Path:
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"f{i}.png")
    return folder


def write_dicom(path: Path, frames: NDArray[np.uint16], cut_bytes: int = 0) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns, data.NumberOfFrames = frames.shape[1], frames.shape[2], frames.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = frames.tobytes()
    data.save_as(path, enforce_file_format=True)
    if cut_bytes:
        path.write_bytes(path.read_bytes()[:-cut_bytes])
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_folder_of_png_reads_back_in_natural_order(tmp_path: Path, dtype: type) -> None:
    frames = stack(12, dtype)
    source = open_frames(write_pngs(tmp_path / "view1", frames))
    assert len(source) == 12
    assert source.bits == 8 * np.dtype(dtype).itemsize
    assert [source.name(i) for i in range(12)] == [f"f{i}" for i in range(12)]  # f10 after f9, not after f1
    for i in (0, 9, 10, 11):
        np.testing.assert_array_equal(source.read(i), frames[i])


def test_digits_that_are_no_numbers_sort_as_letters(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "view1", stack(3))
    for old, new in (("f0", "m²1"), ("f1", "1²10"), ("f2", "1²9")):
        (folder / f"{old}.png").rename(folder / f"{new}.png")
    source = open_frames(folder)
    assert [source.name(i) for i in range(3)] == ["1²9", "1²10", "m²1"]


def test_hidden_companions_of_frames_are_no_frames(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "view1", stack(3, np.uint8))
    (folder / "._f0.png").write_bytes(b"\0\5\x16\7")
    assert len(open_frames(folder)) == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_multi_page_tiff_reads_back(tmp_path: Path, dtype: type) -> None:
    frames = stack(5, dtype)
    tifffile.imwrite(tmp_path / "view.tif", frames, photometric="minisblack")
    source = open_frames(tmp_path / "view.tif")
    assert len(source) == 5
    assert source.name(3) == "0003"
    np.testing.assert_array_equal(source.read(3), frames[3])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_read_back(tmp_path: Path, compression: str) -> None:
    """XMALab writes undistorted frames with LZW."""
    frames = stack(2, np.uint8)
    (tmp_path / "view").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "view" / f"{i}.tif", compression=compression)
    np.testing.assert_array_equal(open_frames(tmp_path / "view").read(1), frames[1])


def test_multi_frame_dicom_reads_back_and_knows_its_bits(tmp_path: Path) -> None:
    frames = (stack(4, np.uint16) >> 4).astype(np.uint16)
    source = open_frames(write_dicom(tmp_path / "run.dcm", frames))
    assert len(source) == 4
    assert source.bits == 12
    np.testing.assert_array_equal(source.read(2), frames[2])
    unnamed = (tmp_path / "run.dcm").rename(tmp_path / "IM0001")
    np.testing.assert_array_equal(open_frames(unnamed).read(3), frames[3])


def test_the_sign_of_dicom_numbers_is_none_of_their_bits(tmp_path: Path) -> None:
    (tmp_path / "view").mkdir()
    path = write_dicom(tmp_path / "view" / "0.dcm", (stack(1, np.uint16) >> 5).astype(np.uint16))
    signed = pydicom.dcmread(path)
    signed.PixelRepresentation = 1
    signed.save_as(path)
    assert (open_frames(path).bits, open_frames(path.parent).bits) == (11, 11)


def test_fewer_bits_than_a_dicom_file_stores_are_believed(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "run.dcm", (stack(2, np.uint16) >> 6).astype(np.uint16))
    assert open_frames(path, 10).bits == 10
    with pytest.raises(FileFormatError, match=r"run\.dcm: bit_depth: expected at most the 12 bits of its pixels"):
        open_frames(path, 14)


def write_video(path: Path, frames: NDArray[np.uint8]) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "gray"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))
    return path


def test_video_reads_back_forwards_and_backwards(tmp_path: Path) -> None:
    frames = stack(6)
    source = open_frames(write_video(tmp_path / "run.mkv", frames))
    assert len(source) == 6
    for i in (1, 2, 5, 0, 4):
        np.testing.assert_array_equal(source.read(i), frames[i])


def test_video_without_pyav_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.avi").write_bytes(b"RIFF")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FileFormatError, match=r"run\.avi.*pip install 'fluoropose\[video\]'"):
        open_frames(tmp_path / "run.avi")


def test_grey_stored_as_rgb_is_read_and_colour_is_refused(tmp_path: Path) -> None:
    frame = stack(1)[0]
    folder = tmp_path / "view"
    folder.mkdir()
    Image.fromarray(np.repeat(frame[..., None], 3, axis=2)).save(folder / "0000.png")
    Image.fromarray(stack(3).transpose(1, 2, 0)).save(folder / "0001.png")
    source = open_frames(folder)
    np.testing.assert_array_equal(source.read(0), frame)
    with pytest.raises(FileFormatError, match=r"frame 0001: expected a grey image"):
        source.read(1)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_missing_empty_mixed_and_foreign_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nowhere: expected a folder of frames or a file"):
        open_frames(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match=r"empty: .* found none"):
        open_frames(tmp_path / "empty")
    mixed = write_pngs(tmp_path / "mixed", stack(1))
    tifffile.imwrite(mixed / "f1.tif", stack(1)[0])
    with pytest.raises(FileFormatError, match=r"mixed: .* found PNG and TIFF"):
        open_frames(mixed)
    (tmp_path / "notes.txt").write_text("hello " * 100)
    with pytest.raises(FileFormatError, match=r"notes\.txt: expected a folder.* found \.txt"):
        open_frames(tmp_path / "notes.txt")
    for name in ("a.tif", "a.dcm", "a.mp4"):
        (tmp_path / name).write_bytes(b"this is no image" * 40)
        with pytest.raises(FileFormatError, match=rf"{name}: cannot be read as a"):
            open_frames(tmp_path / name)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_frame_that_is_not_there_is_an_input_error(tmp_path: Path, index: int) -> None:
    source = open_frames(write_pngs(tmp_path / "view", stack(3)))
    with pytest.raises(InputError, match=rf"frame {index}: expected 0 to 2"):
        source.read(index)


def test_one_truncated_png_does_not_hide_the_others(tmp_path: Path) -> None:
    frames = stack(3)
    folder = write_pngs(tmp_path / "view", frames)
    first = folder / "f0.png"
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    source = open_frames(folder)
    with pytest.raises(FileFormatError, match=r"view: frame f0: cannot be read"):
        source.read(0)
    np.testing.assert_array_equal(source.read(1), frames[1])


def test_truncated_tiff_is_refused_not_padded(tmp_path: Path) -> None:
    folder = tmp_path / "view"
    folder.mkdir()
    frames = stack(2, np.uint16)
    for i, frame in enumerate(frames):
        tifffile.imwrite(folder / f"{i}.tif", frame)
    cut = folder / "1.tif"
    cut.write_bytes(cut.read_bytes()[:-100])
    source = open_frames(folder)
    np.testing.assert_array_equal(source.read(0), frames[0])
    with pytest.raises(FileFormatError, match=r"1\.tif.*truncated"):
        source.read(1)


def test_truncated_dicom_is_refused(tmp_path: Path) -> None:
    frames = (stack(3, np.uint16) >> 4).astype(np.uint16)
    source = open_frames(write_dicom(tmp_path / "run.dcm", frames, cut_bytes=500))
    with pytest.raises(FileFormatError, match=r"run\.dcm: frame 0002: cannot be read"):
        source.read(2)


def test_truncated_video_fails_at_its_end_only(tmp_path: Path) -> None:
    frames = stack(6)
    path = write_video(tmp_path / "run.mkv", frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    source = open_frames(path)
    np.testing.assert_array_equal(source.read(0), frames[0])
    last = len(source)
    assert last < 6
    with pytest.raises(InputError, match=f"expected 0 to {last - 1}"):
        source.read(last)


FAULTS = {
    "wrong size: expected 64 x 48 pixels, found 32 x 48": lambda f: f[:, :32],
    "holds NaN": lambda f: np.where(np.arange(64) == 5, np.nan, f / 255).astype(np.float32),
    "constant: every pixel has the value 0": lambda f: np.zeros_like(f),
    "constant: every pixel has the value 90": lambda f: np.full_like(f, 90),
    "saturated: every pixel": lambda f: np.full_like(f, 255),
    "saturated: 99": lambda f: np.where(np.arange(48 * 64).reshape(48, 64) < 20, f, 255).astype(np.uint8),
    "blank: the grey values span 2": lambda f: (30 + f % 3).astype(np.uint8),
}


def test_values_beyond_full_scale_are_told() -> None:
    frame = stack(1, np.uint16)[0]
    assert "expected 0 to 4095" in why_unusable(frame, 12, (64, 48))
    assert "expected 0 to 1" in why_unusable(frame.astype(np.float32), None, (64, 48))


@pytest.mark.parametrize("reason", FAULTS)
def test_faults_of_a_frame_are_told(reason: str) -> None:
    frame = FAULTS[reason](stack(1)[0])
    bits = None if frame.dtype.kind == "f" else 8
    assert why_unusable(frame, bits, (64, 48)).startswith(reason)


def test_good_frames_are_usable_even_with_a_saturated_half() -> None:
    frame = stack(1)[0]
    assert why_unusable(frame, 8, (64, 48)) == ""
    frame[:, :32] = 255
    assert why_unusable(frame, 8, (64, 48)) == ""


def test_only_the_field_counts() -> None:
    frame = np.zeros((48, 64), np.uint8)
    frame[:, 40:] = stack(1)[0][:, 40:]
    field = np.zeros((48, 64), bool)
    field[:, :40] = True
    assert why_unusable(frame, 8, (64, 48)) == ""
    assert why_unusable(frame, 8, (64, 48), field).startswith("constant")


def test_bits_decide_what_counts_as_blank() -> None:
    frame = (stack(1, np.uint16)[0] >> 7).astype(np.uint16)  # values up to 511
    assert why_unusable(frame, 16, (64, 48)).startswith("blank")
    assert why_unusable(frame, 12, (64, 48)) == ""


@given(hnp.arrays(np.uint16, (6, 5)), st.sampled_from([16]))
def test_both_polarities_mirror_each_other(frame: NDArray[np.uint16], bits: int) -> None:
    air, bone = attenuating(frame, bits, "bright_air"), attenuating(frame, bits, "bright_bone")
    assert air.dtype == bone.dtype == np.float32
    np.testing.assert_allclose(air + bone, 1, atol=1e-6)
    assert bone.min() >= 0
    assert bone.max() <= 1
    np.testing.assert_allclose(bone, frame / 65535, atol=1e-6)


def test_unknown_polarity_is_refused() -> None:
    with pytest.raises(InputError, match="polarity"):
        attenuating(stack(1)[0], 8, "upside_down")  # type: ignore[arg-type]
