"""What the numbers of stored frames mean."""

from __future__ import annotations

import numpy as np
import pytest

from fluoropose.errors import InputError
from fluoropose.io.stored_frame import Polarity, attenuating
from fluoropose.tracking.stored import Attenuating


@pytest.mark.parametrize("polarity", ["bright_air", "bright_bone"])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16), (None, np.float64)])
def test_stored_frames_become_what_registration_takes(bits: int | None, dtype: type, polarity: Polarity) -> None:
    rng, full = np.random.default_rng(2), 1 if bits is None else 2**bits - 1
    stored = (rng.uniform(0, 1, (400, 400)) * full).astype(dtype)
    found = Attenuating(bits, polarity)(stored)
    assert found.shape == (400, 400)
    part = found[30:50, 7::2]
    assert part.dtype == np.float32
    whole = stored / full if polarity == "bright_bone" else 1 - stored / full
    np.testing.assert_allclose(part, whole[30:50, 7::2], atol=1e-6)
    np.testing.assert_array_equal(found[:], attenuating(stored, bits, polarity))


def test_an_unknown_polarity_is_named() -> None:
    with pytest.raises(InputError, match='polarity: expected "bright_air" or "bright_bone", found \'dark\''):
        Attenuating(8, "dark")  # type: ignore[arg-type]
