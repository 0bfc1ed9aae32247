"""What the landmark network is shown: cut out by masks that are predicted or given, translated, or as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoropose.errors import InputError
from fluoropose.learning.bundle import (
    LandmarkFacts,
    LandmarkNetwork,
    Placed,
    SegmentFacts,
    SegmentNetwork,
    StyleFacts,
    StyleNetwork,
)
from fluoropose.learning.bundle.placed import PROCESSOR
from fluoropose.learning.coordinates import normalised_from_px
from fluoropose.learning.preprocess import Preprocessing, crop_frame, lit_pixels
from fluoropose.region import Region
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.sight import Sight
from fluoropose.silhouette import silhouette
from knowing_network import FRAME, SIZE, TRUTH, KnowingNetwork, make_bone, make_rig

RIG = make_rig()
PAIR = [FRAME, FRAME]
FIELDS = [scope.whole for scope in RIG.fluoroscopes]
N = 5


def placed(function: Callable[..., Tensor]) -> Placed:
    return Placed(lambda device: function, PROCESSOR, "marking")


@dataclass
class Marking:
    """A bundle whose landmark network keeps what it was shown, and answers with given pixels of the crop."""

    px: NDArray[np.float64]
    sd_px: float | None = None
    shown: NDArray[np.float32] | None = None
    path: Path = Path("marking.fpbundle")

    @property
    def landmarks(self) -> LandmarkNetwork:
        facts = LandmarkFacts(
            size=SIZE, crop_margin=None, preprocessing=Preprocessing(), training={}, deviations=self.sd_px is not None
        )
        return LandmarkNetwork(facts, 2, placed(self.answer))

    def answer(self, crops: Tensor, views: Tensor) -> Tensor:
        self.shown = crops[:, 0].numpy().copy()
        places = normalised_from_px(torch.from_numpy(self.px).expand(len(crops), -1, -1), SIZE)
        if self.sd_px is None:
            return places
        log_sd = torch.full((*places.shape[:2], 1), float(np.log(2 * self.sd_px / SIZE)))
        return torch.cat([places, log_sd], 2)


def segmenting(column: int, size: int = SIZE) -> SegmentNetwork:
    """Make a network that finds what is right of a column of the crop."""

    def find(crops: Tensor) -> Tensor:
        found = torch.zeros_like(crops)
        found[..., column:] = 0.9
        return found

    return SegmentNetwork(SegmentFacts(size=size, preprocessing=Preprocessing(), training={}), placed(find))


def negative() -> StyleNetwork:
    facts = StyleFacts(size=SIZE, preprocessing=Preprocessing(), training={})
    return StyleNetwork(facts, placed(torch.neg))


def sight(network: Marking, **networks: Any) -> Sight:
    return Sight(RIG, network, **networks)  # type: ignore[arg-type]


def test_a_segmented_bone_is_shown_alone_and_landmarks_off_it_do_not_count() -> None:
    px = np.array([[10.0, 64.0], [57.0, 64.0], [62.0, 64.0], [90.0, 64.0], [140.0, 64.0]])
    network = Marking(px)
    through = sight(network, segmenter=segmenting(60))
    look = through.look([PAIR], [FIELDS])
    (seen,) = through.see(look)
    assert network.shown is not None
    assert (network.shown[:, :, :60] == -1).all()
    assert (network.shown.min(), network.shown.max()) == (-1, 1)
    # 3 % of 128 pixels are let pass beside the mask; the last one is out of the crop.
    assert np.isfinite(seen.px[..., 0]).tolist() == [[False, True, True, True, False]] * 2
    expected = FIELDS[0].to_frame(px, SIZE)
    np.testing.assert_allclose(seen.px[0, 1:4], expected[1:4])
    outline = seen.outlines[0]
    assert outline is not None
    left = FIELDS[0].to_frame(np.array([[60.0, 0.0]]), SIZE)[0, 0]
    assert outline[:, 0].min() == pytest.approx(left)


def test_masks_that_are_given_end_at_the_field() -> None:
    network = Marking(np.full((N, 2), 64.0))
    through = sight(network)
    mask = np.zeros(FRAME.shape, bool)
    mask[:, 200:] = True
    look = through.look([PAIR], [FIELDS], masks=[[mask, np.zeros_like(mask)]])
    masks = through.found(look).masks
    assert masks is not None
    lit = lit_pixels(RIG.fluoroscopes[0], FIELDS[0], SIZE)
    expected = FIELDS[0].crop(mask.astype(np.float32), SIZE) > 0.5
    np.testing.assert_array_equal(masks[0], expected & lit)
    (seen,) = through.see(look)
    assert network.shown is not None
    assert (network.shown[0][~masks[0]] == -1).all()
    assert (network.shown[1] == -1).all()  # nothing of the bone in view 2, and no landmark there
    assert np.isnan(seen.px[1]).all()
    assert seen.outlines[1] is None


def test_without_segmentation_the_crop_is_shown_as_it_is() -> None:
    network = Marking(np.full((N, 2), 2.0))
    through = sight(network)
    (seen,) = through.see(through.look([PAIR], [FIELDS]))
    lit = lit_pixels(RIG.fluoroscopes[0], FIELDS[0], SIZE)
    expected = Preprocessing().apply(crop_frame(FRAME, FIELDS[0], SIZE), lit)
    assert network.shown is not None
    np.testing.assert_array_equal(network.shown[0], expected)
    assert np.isfinite(seen.px).all()
    assert seen.outlines == (None, None)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, np.nan])
def test_frames_that_show_nothing_have_no_bone_and_no_landmarks(value: float) -> None:
    network = Marking(np.full((N, 2), 64.0))
    through = sight(network, segmenter=segmenting(0), translator=negative())
    nothing = np.full(FRAME.shape, value, np.float32)
    look = through.look([[nothing, FRAME]], [FIELDS])
    assert [bool(why) for why in look.blank] == [True, False]
    masks = through.found(look).masks
    assert masks is not None
    assert not masks[0].any()
    assert masks[1].any()
    (seen,) = through.see(look)
    assert seen.blank == look.blank
    assert np.isnan(seen.px[0]).all()
    assert np.isfinite(seen.px[1]).all()
    assert network.shown is not None
    assert np.isfinite(network.shown).all()


def test_translation_comes_before_cutting_out() -> None:
    def shown(**networks: Any) -> NDArray[np.float32]:
        network = Marking(np.full((N, 2), 64.0))
        through = sight(network, **networks)
        through.see(through.look([PAIR], [FIELDS]))
        assert network.shown is not None
        return network.shown

    lit = np.stack([lit_pixels(*scene, SIZE) for scene in zip(RIG.fluoroscopes, FIELDS, strict=True)])
    expected = np.where(lit, -shown(), 1)  # beyond the field white, as in any radiograph
    np.testing.assert_array_equal(shown(translator=negative()), expected)
    cut = shown(segmenter=segmenting(60), translator=negative())
    assert (cut[:, :, :60] == -1).all()  # open beam, not what the translation made of it
    assert (cut[:, :, 60:] > -1).any()


def test_standard_deviations_come_back_to_the_frame() -> None:
    network = Marking(np.full((N, 2), 64.0), sd_px=1.5)
    through = sight(network)
    small = Region(100.0, 100.0, 64.0)
    (seen,) = through.see(through.look([PAIR], [[FIELDS[0], small]], looks=4))
    np.testing.assert_allclose(seen.sd_px[0], 1.5 * FIELDS[0].side_px / SIZE)
    np.testing.assert_allclose(seen.sd_px[1], 1.5 * 64 / SIZE)


def test_networks_of_different_sets_are_refused() -> None:
    with pytest.raises(InputError, match="segmentation network's size is 64, the landmark network's 128"):
        sight(Marking(np.zeros((N, 2))), segmenter=segmenting(60, size=64))


# --- how registration uses it ---------------------------------------------------------------------------------------


def registrar(network: KnowingNetwork, **settings: Any) -> Registrar:
    return Registrar(network.rig, network.bone, network, **settings)  # type: ignore[arg-type]


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> KnowingNetwork:
    network = KnowingNetwork(make_bone(), RIG)
    monkeypatch.setattr("fluoropose.registration.sight.crop_frame", network.crop)
    return network


def test_where_the_pose_is_doubtful_the_next_look_is_round_the_mask(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 40.0
    mask = np.zeros(FRAME.shape, bool)
    mask[150:230, 120:200] = True
    registrar(knowing, closer_looks=1, looks=1).register([PAIR], masks=[[mask, mask]])
    first, second, _ = knowing.seen
    assert first[0] == FIELDS[0]
    for region in second:
        # The box of the mask's pixels in the first crop, 1.4 times as large; a pixel there is 3 of the frame's.
        assert region.side_px == pytest.approx(1.4 * 80, abs=8)
        assert region.left_px + region.side_px / 2 == pytest.approx(160, abs=4)


def test_a_right_pose_needs_no_mask_and_a_mask_elsewhere_hides_the_bone(knowing: KnowingNetwork) -> None:
    everywhere = np.ones(FRAME.shape, bool)
    (found,) = registrar(knowing).register([PAIR], masks=[[everywhere, everywhere]])
    assert found.world_from_bone is not None
    assert TRUTH.angle_to(found.world_from_bone) < 1e-5
    corner = np.zeros(FRAME.shape, bool)
    corner[180:200, 10:30] = True
    (lost,) = registrar(knowing, closer_looks=0).register([PAIR], masks=[[corner, corner]])
    assert not lost.ok
    assert lost.reason.startswith("too few points")


def test_a_single_damaged_pixel_is_named(knowing: KnowingNetwork) -> None:
    damaged = FRAME.copy()
    damaged[101, 103] = np.nan
    through = sight(Marking(np.full((len(knowing.bone.landmarks_mm), 2), 64.0)))
    with pytest.MonkeyPatch.context() as unpatched:
        unpatched.setattr("fluoropose.registration.sight.crop_frame", crop_frame)
        (seen,) = through.see(through.look([[FRAME, damaged]], [FIELDS]))
    lost = registrar(knowing).solve(seen, None)
    assert not lost.ok
    assert lost.reason == "view 2: frame: expected finite numbers, found NaN or infinity"


def test_landmarks_weigh_by_what_the_network_tells(knowing: KnowingNetwork) -> None:
    """A third of the landmarks ten times as noisy as the others, which the network knows."""
    n = len(knowing.bone.landmarks_mm)
    noisy = np.arange(n) % 3 == 0
    rng = np.random.default_rng(1)

    class Honest(KnowingNetwork):
        def answer(self, crops: Tensor, views: Tensor) -> Tensor:
            places = super().answer(crops, views)
            sd = torch.from_numpy(np.where(noisy, 5.0, 0.5)) * (2 / SIZE)
            places = places + sd[:, None] * torch.from_numpy(rng.normal(size=places.shape))
            return torch.cat([places, sd.log().expand(len(places), -1)[..., None]], 2)

    knowing.deviations = True
    knowing.__class__ = Honest

    def error(weighted: bool) -> float:
        found = registrar(knowing, weighted=weighted, looks=1).register([PAIR] * 30)
        poses = [one.world_from_bone for one in found]
        return float(np.mean([TRUTH.angle_to(pose) for pose in poses if pose is not None]))

    # Measured: a factor of 3.6.
    assert error(True) < 0.5 * error(False)


def test_silhouettes_make_masks(knowing: KnowingNetwork) -> None:
    """The bone's own shadow at its true pose keeps the landmarks."""
    bone = knowing.bone
    tetrahedra = np.array([[i, j, k] for i in range(14) for j in range(i) for k in range(j)])
    vertices = TRUTH.apply(bone.landmarks_mm)
    masks = [silhouette(scope, vertices, tetrahedra) for scope in RIG.fluoroscopes]
    (found,) = registrar(knowing).register([PAIR], masks=[masks])
    assert found.ok
    assert found.n_visible > 10
