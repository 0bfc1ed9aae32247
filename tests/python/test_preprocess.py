from __future__ import annotations

import numpy as np
import pytest
import torch

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.io.stored_frame import Polarity, StoredFrame, attenuating
from fluoropose.learning.preprocess import Preprocessing, _nanquantile, crop_frame, lit_pixels
from fluoropose.region import Region
from fluoropose.rig import CircularField, Fluoroscope


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((128, 128)).astype(np.float32) ** 2


ALL = np.ones((128, 128), bool)


def test_one_crop_and_a_batch_are_treated_alike() -> None:
    preprocessing = Preprocessing()
    crops = np.stack([picture(i) for i in range(3)])
    lit = np.stack([ALL, np.tri(128, dtype=bool), picture(7) > 0.1])
    batch = preprocessing(torch.from_numpy(crops), torch.from_numpy(lit)).numpy()
    # The very same torch operations: not merely close.
    pairs = zip(crops, lit, batch, strict=True)
    assert all(np.array_equal(preprocessing.apply(crop, on), row) for crop, on, row in pairs)
    assert batch.min() == -1
    assert batch.max() == 1


def test_exposure_hardly_matters() -> None:
    preprocessing = Preprocessing(floor=0.001)
    signal = 0.1 + 0.3 * picture()
    # The logarithm turns gain into an offset, which the quantiles remove; measured difference 0.004.
    assert np.abs(preprocessing.apply(1 - signal, ALL) - preprocessing.apply(1 - 2 * signal, ALL)).max() < 0.01


def test_the_field_s_surround_takes_no_part_of_the_grey_scale() -> None:
    preprocessing = Preprocessing()
    lit = np.hypot(*(np.mgrid[:128, :128] - 63.5)) < 50
    inside = 0.2 + 0.3 * picture()
    black, grey = (preprocessing.apply(np.where(lit, inside, level).astype(np.float32), lit) for level in (1.0, 0.6))
    np.testing.assert_array_equal(black, grey)
    assert (black[~lit] == 1).all()
    # Without the field's mask the black would have pushed the picture into the lower part of the scale.
    assert np.ptp(black[lit]) == 2


def test_what_is_cut_out_has_the_whole_range_and_open_beam_round_it() -> None:
    image = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(4)) * 0.4 - 0.6
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 8:24, 4:30] = True
    shown = Preprocessing().cut_out(image, mask)
    assert (shown[~mask] == -1).all()
    inside = shown[0, 8:24, 4:30]
    assert (inside.min(), inside.max()) == (-1, 1)
    steps = torch.sort(image[0, 8:24, 4:30].flatten()).indices
    assert (torch.diff(inside.flatten()[steps]) >= 0).all()
    assert (shown[1] == -1).all()  # an empty mask


@pytest.mark.parametrize("count", [1, 2, 37, 4096])
@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_quantiles_are_those_of_torch(count: int, kept: float) -> None:
    rng = torch.Generator().manual_seed(count)
    samples = torch.randn(3, count, generator=rng)
    samples = samples.masked_fill(torch.rand(3, count, generator=rng) >= kept, torch.nan)
    levels = torch.tensor([0.0, 0.02, 0.5, 0.98, 1.0])
    found, expected = _nanquantile(samples, levels), torch.nanquantile(samples, levels, dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_lit_pixels_lie_in_the_frame_and_its_field() -> None:
    view = View.from_krt([[1000, 0, 50], [0, 1000, 40], [0, 0, 1]], np.eye(3), [0, 0, 500], (100, 80))
    whole = lit_pixels(Fluoroscope(view), Region(-10, -10, 120), 120)
    assert whole[10:90, 10:110].all()
    assert whole.sum() == 80 * 100
    field = CircularField(49.5, 39.5, 30.0)
    v, u = np.mgrid[:80, :80]
    lit = lit_pixels(Fluoroscope(view, field=field), Region(10, 0, 80), 80)
    np.testing.assert_array_equal(lit, np.hypot(u + 10 - 49.5, v - 39.5) <= 0.98 * 30)


def test_past_the_frame_there_is_no_signal() -> None:
    crop = crop_frame(np.zeros((64, 64), np.float32), Region(-64, 0, 128), 32)
    assert crop[8, 0] == 1
    assert crop[8, 24] == 0


@pytest.mark.parametrize("polarity", ["bright_air", "bright_bone"])
@pytest.mark.parametrize("bits", [12, None])
def test_stored_frames_give_the_crops_of_converted_ones(bits: int | None, polarity: Polarity) -> None:
    stored = picture() if bits is None else np.round(picture() * (2**bits - 1)).astype(np.uint16)
    for region in (Region(20.3, 31.7, 55.5), Region(-20, 40, 100), Region(300, 300, 20)):
        found = crop_frame(StoredFrame(stored, bits, polarity), region, 32)
        np.testing.assert_allclose(found, crop_frame(attenuating(stored, bits, polarity), region, 32), atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.full((8, 8), np.nan, np.float32), "NaN"),
        (np.full((8, 8), 200, np.float32), "0, 1"),
        (np.zeros((8, 8, 3), np.float32), "shape"),
        (np.zeros((0, 8), np.float32), "shape"),
    ],
)
def test_bad_frames_are_refused(frame: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        crop_frame(frame, Region(0, 0, 8), 8)


@pytest.mark.parametrize(
    ("crop", "lit", "says"),
    [
        (np.full((16, 16), 0.3, np.float32), np.ones((16, 16), bool), "blank"),
        (np.full((16, 16), np.nan, np.float32), np.ones((16, 16), bool), "NaN"),
        (np.zeros((2, 16, 16), np.float32), np.ones((16, 16), bool), "shape"),
        (np.zeros((16, 16), np.float32), np.ones((16, 8), bool), "shape"),
        (picture()[:16, :16], np.zeros((16, 16), bool), "outside the field"),
    ],
)
def test_bad_crops_are_refused(crop: np.ndarray, lit: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Preprocessing().apply(crop, lit)
