from __future__ import annotations

import numpy as np
import pytest
import torch

from fluoropose.errors import InputError
from fluoropose.learning.preprocess import Preprocessing, crop_frame
from fluoropose.region import Region


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((128, 128)).astype(np.float32) ** 2


def test_one_crop_and_a_batch_are_treated_alike() -> None:
    preprocessing = Preprocessing()
    crops = np.stack([picture(i) for i in range(3)])
    batch = preprocessing(torch.from_numpy(crops)).numpy()
    # The very same torch operations: not merely close.
    assert all(np.array_equal(preprocessing.apply(crop), row) for crop, row in zip(crops, batch, strict=True))
    assert batch.min() == -1
    assert batch.max() == 1


def test_exposure_hardly_matters() -> None:
    preprocessing = Preprocessing(floor=0.001)
    signal = 0.1 + 0.3 * picture()
    # The logarithm turns gain into an offset, which the quantiles remove; measured difference 0.004.
    assert np.abs(preprocessing.apply(1 - signal) - preprocessing.apply(1 - 2 * signal)).max() < 0.01


def test_past_the_frame_there_is_no_signal() -> None:
    crop = crop_frame(np.zeros((64, 64), np.float32), Region(-64, 0, 128), 32)
    assert crop[8, 0] == 1
    assert crop[8, 24] == 0


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


def test_bad_crops_are_refused() -> None:
    with pytest.raises(InputError, match="blank"):
        Preprocessing().apply(np.full((16, 16), 0.3, np.float32))
    with pytest.raises(InputError, match="NaN"):
        Preprocessing().apply(np.full((16, 16), np.nan, np.float32))
    with pytest.raises(InputError, match="shape"):
        Preprocessing().apply(np.zeros((2, 16, 16), np.float32))
