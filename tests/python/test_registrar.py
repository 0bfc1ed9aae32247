"""The way from one frame pair to a pose, with a network that is known to be right, noisy or wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle
from fluoropose.region import Region
from fluoropose.registration import sight as sight_module
from fluoropose.registration.locate import around_pose, circling, jittered
from fluoropose.registration.registrar import Registrar, magnification
from fluoropose.registration.registration import Status
from fluoropose.registration.trial import Checks
from knowing_network import FRAME, TRUTH, KnowingNetwork, make_bone, make_rig
from toy_bundle import write_bundle
from toy_learning import toy_bone, toy_rig


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> KnowingNetwork:
    network = KnowingNetwork(make_bone(), make_rig())
    monkeypatch.setattr(sight_module, "crop_frame", network.crop)
    return network


def registrar(network: KnowingNetwork, **settings: object) -> Registrar:
    return Registrar(network.rig, network.bone, network, **settings)  # type: ignore[arg-type]


def test_right_landmarks_give_the_right_pose(knowing: KnowingNetwork) -> None:
    (found,) = registrar(knowing).register([[FRAME, FRAME]])
    assert found.status is Status.OK
    assert found.world_from_bone is not None
    assert TRUTH.angle_to(found.world_from_bone) < 1e-5
    np.testing.assert_allclose(found.world_from_bone.translation_mm, TRUTH.translation_mm, atol=1e-3)
    assert found.hypothesis == "none"


def test_it_looks_at_the_field_then_at_the_bone_then_averages(knowing: KnowingNetwork) -> None:
    registrar(knowing, closer_looks=2, looks=4).register([[FRAME, FRAME]] * 3)
    first, second, last, _ = knowing.seen
    assert [len(first), len(second), len(last)] == [3 * 2, 3 * 2, 3 * 2 * 4]
    assert first[0] == knowing.rig.fluoroscopes[0].whole
    expected = around_pose(knowing.rig.fluoroscopes[1], knowing.bone.landmarks_mm, TRUTH, 1.4)
    assert expected is not None
    for region in (second[1], last[4]):  # view 2
        assert region.side_px == pytest.approx(expected.side_px, abs=1e-2)
        assert region.left_px == pytest.approx(expected.left_px, abs=1e-2)
    assert len({region.left_px for region in last[:4]}) > 1


def test_a_closer_look_and_the_mean_of_looks_are_more_accurate(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 1.0

    def error(**settings: int) -> float:
        found = registrar(knowing, **settings).register([[FRAME, FRAME]] * 40)
        poses = [one.world_from_bone for one in found]
        return float(np.mean([TRUTH.angle_to(pose) for pose in poses if pose is not None]))

    coarse, close, averaged = error(closer_looks=0, looks=1), error(closer_looks=1, looks=1), error(looks=4)
    # The close crop's pixels are 1.6 times as fine here, and four looks halve the noise: measured 1.62 and 2.0.
    assert close < 0.8 * coarse
    assert averaged < 0.65 * close


@pytest.mark.parametrize(("mirrored", "hypothesis"), [((0,), "view1"), ((1,), "view2"), ((0, 1), "view1+view2")])
def test_mirrored_predictions_are_seen_through(
    knowing: KnowingNetwork, mirrored: tuple[int, ...], hypothesis: str
) -> None:
    knowing.mirrored = mirrored
    (found,) = registrar(knowing).register([[FRAME, FRAME]])
    assert found.hypothesis == hypothesis
    assert found.world_from_bone is not None
    assert TRUTH.angle_to(found.world_from_bone) < 1e-4


def test_a_start_pose_is_looked_at_first(knowing: KnowingNetwork) -> None:
    registrar(knowing).register([[FRAME, FRAME]] * 2, [None, TRUTH])
    first = knowing.seen[0]
    assert first[0] == knowing.rig.fluoroscopes[0].whole
    assert first[2] == around_pose(knowing.rig.fluoroscopes[0], knowing.bone.landmarks_mm, TRUTH, 1.4)


def test_a_start_pose_out_of_the_field_is_not_believed(knowing: KnowingNetwork) -> None:
    away = Pose(TRUTH.rotation, TRUTH.translation_mm + [900.0, 0, 0])
    (found,) = registrar(knowing).register([[FRAME, FRAME]], [away])
    assert knowing.seen[0][0] == knowing.rig.fluoroscopes[0].whole
    assert found.ok


def test_without_a_crop_margin_only_the_field_is_looked_at(knowing: KnowingNetwork) -> None:
    knowing.crop_margin = None
    (found,) = registrar(knowing, looks=3).register([[FRAME, FRAME]])
    assert found.ok
    assert [len(regions) for regions in knowing.seen] == [6, 0]


# --- doubts ---------------------------------------------------------------------------------------------------------


def failure(network: KnowingNetwork, checks: Checks | None = None) -> str:
    (found,) = registrar(network, checks=checks or Checks()).register([[FRAME, FRAME]])
    assert found.status is Status.FAILED
    assert found.world_from_bone is None
    assert found.covariance is None
    return found.reason


def test_landmarks_that_contradict_each_other_fail(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 30.0
    assert failure(knowing).startswith("the views do not agree: residual")
    (found,) = registrar(knowing).register([[FRAME, FRAME]])
    assert found.disputed is not None


def test_the_residual_is_measured_at_the_bone(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 2.0
    # 2 px of the 128 px crop of some 200 px of 0.75 mm, magnified 1.6 times: about 2 mm at the bone.
    assert "residual" in failure(knowing, Checks(max_residual_mm=0.5))
    (found,) = registrar(knowing, checks=Checks(max_residual_mm=4.0)).register([[FRAME, FRAME]])
    assert found.ok


def test_a_bone_out_of_the_field_fails(knowing: KnowingNetwork) -> None:
    knowing.truth = Pose(TRUTH.rotation, TRUTH.translation_mm + [0.0, 95.0, 0.0])
    assert "field" in failure(knowing, Checks(min_share_in_field=0.9))
    knowing.truth = Pose(TRUTH.rotation, TRUTH.translation_mm + [0.0, 400.0, 0.0])
    assert failure(knowing)


def test_too_few_landmarks_fail(knowing: KnowingNetwork) -> None:
    assert failure(knowing, Checks(min_landmarks=50)).startswith("too few landmarks: ")


def test_blank_windows_fail(knowing: KnowingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def blank(frame: NDArray[np.float32], region: Region, size: int) -> NDArray[np.float32]:
        knowing.crop(frame, region, size)
        raise InputError("crop: blank")

    monkeypatch.setattr(sight_module, "crop_frame", blank)
    assert failure(knowing)


def test_wrong_arguments_are_named(knowing: KnowingNetwork) -> None:
    with pytest.raises(InputError, match="expected 2 frames in each"):
        registrar(knowing).register([[FRAME]])
    with pytest.raises(InputError, match="another bone"):
        Registrar(knowing.rig, make_bone(), knowing)  # type: ignore[arg-type]


def test_magnification_is_the_ratio_of_distances() -> None:
    view = make_rig().views[0]
    assert magnification(view, TRUTH) == pytest.approx(1000.0 / 620.0)


def test_jittered_looks_lie_evenly_round_the_first() -> None:
    region = Region(10.0, 20.0, 100.0)
    looks = jittered(region, 5)
    assert looks[0] == region
    assert np.mean([look.left_px for look in looks]) == pytest.approx(10.0)
    assert np.mean([look.top_px for look in looks]) == pytest.approx(20.0)
    assert jittered(region, 1) == [region]


def test_circling_looks_are_moved_by_nothing_on_the_whole() -> None:
    region = Region(10.0, 20.0, 100.0)
    looks = [circling(region, number) for number in (5, 6, 7)]
    assert {look.side_px for look in looks} == {100.0}
    corners = np.array([(look.left_px, look.top_px) for look in looks])
    np.testing.assert_allclose(corners.mean(axis=0), [10.0, 20.0])
    np.testing.assert_allclose(np.linalg.norm(corners - [10.0, 20.0], axis=1), 1.5)
    assert circling(region, 8) == looks[0]


def test_without_pairs_there_are_no_registrations(tmp_path: Path) -> None:
    assert Registrar(toy_rig(), toy_bone(), Bundle.load(write_bundle(tmp_path))).register([]) == []
