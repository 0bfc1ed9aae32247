"""The tracker with a network that is known to be right, noisy or wrong, and a bone that moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoropose.errors import InputError
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.stored_frame import Polarity
from fluoropose.learning.bundle import Placed, SegmentFacts, SegmentNetwork
from fluoropose.learning.bundle.placed import PROCESSOR
from fluoropose.region import Region
from fluoropose.registration import sight as sight_module
from fluoropose.registration.locate import around_pose
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.registration import Registration
from fluoropose.rig import Rig
from fluoropose.tracking import Limits, Phase, Tracked, Tracker
from fluoropose.tracking import tracker as tracker_module
from fluoropose.tracking.smoother import smooth_trial
from fluoropose.tracking.stored import Attenuating
from knowing_network import FRAME, SIZE, TRUTH, KnowingNetwork, make_bone, make_rig

RATE = 30.0
BLACK = np.ones((400, 400), np.float32)


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> KnowingNetwork:
    network = KnowingNetwork(make_bone(), make_rig(), noise_px=0.3)
    monkeypatch.setattr(sight_module, "crop_frame", network.crop)
    return network


def at(time_s: float) -> Pose:
    """A bone that sways by 15 mm and 6 degrees, once a second."""
    s, c = np.sin(2 * np.pi * time_s), np.cos(2 * np.pi * time_s)
    return Pose.exp(np.radians([6 * s, 4 * c, -3 * s]), [15 * s, 6 * c, -9 * s]) * Pose(
        TRUTH.rotation, TRUTH.translation_mm
    )


def tracker(network: KnowingNetwork, **settings: object) -> Tracker:
    # The network knows where the bone is without looking: frames show nothing that could prove it.
    return Tracker(network.bone, network.rig, network, **({"proven": False} | settings))  # type: ignore[arg-type]


def push(follower: Tracker, network: KnowingNetwork, k: int, pose: Pose | None = None) -> Tracked:
    """Show pair ``k`` of the swaying bone, or of a bone at another pose."""
    network.truth = pose or at(k / RATE)
    return follower.push(FRAME, FRAME, k / RATE)


def error(found: Tracked, truth: Pose) -> tuple[float, float]:
    assert found.world_from_bone is not None, found.reason
    shift = found.world_from_bone.translation_mm - truth.translation_mm
    return np.degrees(truth.angle_to(found.world_from_bone)), float(np.linalg.norm(shift))


def away(pose: Pose, mm: float) -> Pose:
    return Pose(pose.rotation, pose.translation_mm + [0, mm, 0])


def turned(pose: Pose, deg: float) -> Pose:
    return Pose(Pose.exp([0, np.radians(deg), 0], [0, 0, 0]).rotation @ pose.rotation, pose.translation_mm)


# --- the steady state -----------------------------------------------------------------------------------------------


def test_frames_that_show_nothing_to_refine_by_leave_the_landmarks_poses(knowing: KnowingNetwork) -> None:
    follower, plain = tracker(knowing, refine_ms=1e4), tracker(knowing, refine_ms=0)
    for k in range(4):
        found = push(follower, knowing, k)
    expected = [push(plain, knowing, k) for k in range(4)][-1]
    assert found.phase is Phase.TRACKING
    assert found.stages.refine > 0
    assert found.refined_px == 0
    assert error(found, at(3 / RATE))[1] < error(expected, at(3 / RATE))[1] + 0.5


def test_a_moving_bone_is_followed_with_one_call_of_the_network_per_pair(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    first = push(follower, knowing, 0)
    assert first.phase is Phase.ACQUIRED
    calls = len(knowing.seen)
    found = [push(follower, knowing, k) for k in range(1, 40)]
    assert {one.phase for one in found} == {Phase.TRACKING}
    assert len(knowing.seen) == calls + 39
    assert {len(regions) for regions in knowing.seen[calls - 1 : -1]} == {2}
    # Measured: 0.27 degrees and 0.19 mm at most.
    worst = np.max([error(one, at((k + 1) / RATE)) for k, one in enumerate(found)], axis=0)
    assert (worst < [0.5, 0.4]).all()
    assert all(one.ok and one.quality > 0.8 and one.hypothesis == "none" and not one.reason for one in found)


def test_it_looks_where_the_bone_will_be(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 0.0
    follower = tracker(knowing)
    speed = np.array([300.0, 0, 0])  # 10 mm between frames
    beside = []
    for k in range(9):
        push(follower, knowing, k, Pose(TRUTH.rotation, TRUTH.translation_mm - [60, 0, 0] + speed * k / RATE))
        region = knowing.seen[-2][0]
        expected = around_pose(knowing.rig.fluoroscopes[0], knowing.bone.landmarks_mm, knowing.truth, 1.4)
        assert expected is not None
        beside.append(np.subtract([region.left_px, region.top_px], [expected.left_px, expected.top_px]))
    # 10 mm are 21 px here; constant velocity is right to 0.1 px. It looks 1.5 % of the side beside that, in turn on
    # three sides.
    np.testing.assert_allclose(np.mean(beside[-3:], axis=0), 0, atol=0.5)
    np.testing.assert_allclose(np.linalg.norm(beside[-3:], axis=1), 0.015 * region.side_px, atol=0.5)


@dataclass
class AliasingNetwork(KnowingNetwork):
    """Errs by where in its crop's pixels a landmark falls, as networks that subsample do."""

    amplitude_px: float = 1.5
    period_px: float = 6.0

    def _px(self, region: Region, view: int) -> NDArray[np.float64]:
        px = super()._px(region, view)
        lag = np.random.default_rng(view).uniform(0, 2 * np.pi, px.shape)
        corner = np.array([region.left_px, region.top_px]) * SIZE / region.side_px
        return px + self.amplitude_px * np.sin(2 * np.pi * corner / self.period_px + lag)


def test_errors_that_come_from_the_crops_place_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a bone that stands still one and the same crop would show the same error for ever."""
    network = AliasingNetwork(make_bone(), make_rig())
    monkeypatch.setattr(sight_module, "crop_frame", network.crop)

    def left_over() -> tuple[float, float]:
        """Errors after the filter and the smoother, as shares of what each pair errs by."""
        follower = tracker(network)
        found = [push(follower, network, k, TRUTH) for k in range(40)]
        smoothed = [one and one.world_from_bone for one in smooth_trial(found, follower.motion)]
        poses = [[one.registration.world_from_bone for one in found], [one.world_from_bone for one in found], smoothed]
        errors = [pose_errors(one, [TRUTH] * 40, network.bone.landmarks_mm).mtre_mm for one in poses]
        raw, causal, both = (float(np.mean(one)) for one in errors if one is not None)
        return causal / raw, both / raw

    # Measured: 0.88 and 0.70; in one place 1.00 and 0.99.
    causal, both = left_over()
    assert causal < 0.94
    assert both < 0.8
    monkeypatch.setattr(tracker_module, "circling", lambda region, number: region)
    causal, both = left_over()
    assert min(causal, both) > 0.95


def test_the_filter_is_more_accurate_than_single_pairs(knowing: KnowingNetwork) -> None:
    knowing.noise_px = 1.5
    follower = tracker(knowing)
    single, filtered = [], []
    for k in range(150):
        found = push(follower, knowing, k)
        measured, truth = found.registration.world_from_bone, at(k / RATE)
        assert measured is not None
        single.append((truth.angle_to(measured), np.linalg.norm(measured.translation_mm - truth.translation_mm)))
        filtered.append(error(found, truth))
    ratio = np.mean(filtered, axis=0) / np.mean(single, axis=0) / [180 / np.pi, 1]
    # Measured: 0.89 of the single pairs' rotation errors; translations are far better than the floor of the
    # tracker's trust, which is set for real networks, and stay as they are: 0.998.
    assert (ratio < [0.95, 1.01]).all()


def test_every_stage_is_timed(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    first, second = push(follower, knowing, 0).stages, push(follower, knowing, 1).stages
    assert first.search > 0
    assert (first.crop, first.landmarks, first.solve) == (0, 0, 0)
    assert second.search == 0
    assert min(second.check, second.crop, second.landmarks, second.solve, second.filter) > 0
    assert second.total == pytest.approx(sum(getattr(second, one.name) for one in fields(second)))


# --- hypotheses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mirrored", "name"), [((0,), "view1"), ((0, 1), "view1+view2")])
def test_a_network_that_mirrors_now_and_then_does_not_turn_the_bone(
    knowing: KnowingNetwork, mirrored: tuple[int, ...], name: str
) -> None:
    follower = tracker(knowing)
    for k in range(12):
        knowing.mirrored = mirrored if k % 3 == 1 else ()
        found = push(follower, knowing, k)
        assert found.hypothesis == (name if k % 3 == 1 else "none")
        assert max(error(found, at(k / RATE))) < 1.0


def test_a_cheaper_hypothesis_that_contradicts_the_motion_is_not_believed(
    knowing: KnowingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = tracker(knowing)
    push(follower, knowing, 0)
    solve = Registrar.solve

    def misled(self: Registrar, px: NDArray[np.float64], start: Pose | None, mirrored: object = None) -> Registration:
        """Take the hypothesis "both mirrored" for the cheapest."""
        return solve(self, px, start, (True, True) if mirrored is None else mirrored)  # type: ignore[arg-type]

    monkeypatch.setattr(Registrar, "solve", misled)
    found = push(follower, knowing, 1)
    assert found.phase is Phase.TRACKING
    assert found.hypothesis == "none"
    assert max(error(found, at(1 / RATE))) < 1.0


def test_a_pose_of_unknown_certainty_is_not_followed(knowing: KnowingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = tracker(knowing)
    push(follower, knowing, 0)
    solve = Registrar.solve

    def uncertain(self: Registrar, *given: object) -> Registration:
        return replace(solve(self, *given), covariance=None)  # type: ignore[arg-type]

    monkeypatch.setattr(Registrar, "solve", uncertain)
    for found in (push(follower, knowing, 1), push(tracker(knowing), knowing, 1)):
        assert found.phase is (Phase.COASTING if found.ok else Phase.LOST)
        assert found.reason == "too few landmarks: 22 used, which do not tell how certain the pose is"


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_an_outlier_is_not_believed(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    for k in range(10):
        push(follower, knowing, k)
    found = push(follower, knowing, 10, away(at(10 / RATE), 25.0))
    assert found.phase is Phase.COASTING
    assert found.reason.startswith("not where the motion leads: Mahalanobis distance")
    assert found.distance > follower.limits.gate
    assert found.quality == 0
    assert found.registration.world_from_bone is None
    assert np.less(error(found, at(10 / RATE)), (1.0, 3.0)).all()  # 0.5 degrees and 2.0 mm
    after = push(follower, knowing, 11)
    assert after.phase is Phase.TRACKING
    assert max(error(after, at(11 / RATE))) < 1.0


def test_a_bone_that_really_jumped_is_found_again(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    for k in range(10):
        push(follower, knowing, k)
    phases = [push(follower, knowing, k, turned(at(k / RATE), 70.0)).phase for k in range(10, 15)]
    assert phases == [Phase.COASTING] * 3 + [Phase.ACQUIRED, Phase.TRACKING]


def test_after_a_second_out_of_view_it_is_found_in_the_first_pair(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    for k in range(10):
        push(follower, knowing, k)
    gone = [follower.push(BLACK, BLACK, k / RATE) for k in range(10, 40)]
    assert [one.phase for one in gone] == [Phase.COASTING] * 3 + [Phase.LOST] * 27
    assert [one.ok for one in gone] == [True] * 3 + [False] * 27
    assert all(one.reason.startswith("view 1: saturated: every pixel has the highest value; view 2") for one in gone)
    back = push(follower, knowing, 40)
    assert back.phase is Phase.ACQUIRED
    assert max(error(back, at(40 / RATE))) < 1.0


def test_the_uncertainty_grows_while_nothing_is_seen(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing)
    for k in range(10):
        sure = push(follower, knowing, k)
    unsure = [follower.miss(k / RATE, "view 2: no frame") for k in (10, 11)]
    assert [one.reason for one in unsure] == ["view 2: no frame"] * 2
    spreads = [one.belief.sd[1] for one in (sure, *unsure) if one.belief is not None]
    assert spreads == sorted(spreads)
    assert len(set(spreads)) == 3


@pytest.mark.parametrize("jump_s", [-3.0, 0.0, 100.0])
def test_a_clock_that_jumps_starts_a_new_track(knowing: KnowingNetwork, jump_s: float) -> None:
    follower = tracker(knowing)
    for k in range(5):
        push(follower, knowing, k)
    found = follower.push(FRAME, FRAME, 4 / RATE + jump_s)
    assert found.phase is Phase.ACQUIRED
    assert follower.push(FRAME, FRAME, 5 / RATE + jump_s).phase is Phase.TRACKING


def test_a_prediction_that_knows_too_little_is_given_up(knowing: KnowingNetwork) -> None:
    follower = tracker(knowing, limits=Limits(coast_s=10.0, lost_mm=30.0))
    for k in range(10):
        push(follower, knowing, k)
    phases = [follower.miss(k / RATE, "no frame").phase for k in range(10, 30)]
    assert phases == sorted(phases)  # coasting, then lost
    assert 4 <= phases.count(Phase.COASTING) <= 10


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0, "constant: every pixel has the value 0"), (4095, "saturated: every pixel has the highest value")],
)
@pytest.mark.parametrize("polarity", ["bright_air", "bright_bone"])
def test_a_stored_frame_is_called_what_it_is_on_the_screen(
    knowing: KnowingNetwork, value: int, reason: str, polarity: Polarity
) -> None:
    stored = Attenuating(12, polarity)(np.full((400, 400), value, np.uint16))
    assert tracker(knowing).push(FRAME, stored, 0.0).reason == f"view 2: {reason}"


def wrong_size(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    return frame[:300]


def one_nan(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    damaged = frame.copy()
    damaged[240, 240] = np.nan  # on the grid that is looked at; elsewhere the crop tells
    return damaged


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (wrong_size, "view 2: wrong size: expected 400 x 400 pixels, found 400 x 300"),
        (one_nan, "view 2: holds NaN or infinity"),
        (np.zeros_like, "view 2: constant: every pixel has the value 0"),
        (np.ones_like, "view 2: saturated"),
        (lambda f: (f * 1000).astype(np.uint16), "view 2: values from .*: expected 0 to 1"),
        (lambda f: f[None], "view 2: wrong size: expected 400 x 400 pixels, found 400 x 400 x 1"),
    ],
)
def test_damaged_frames_say_what_is_wrong(
    knowing: KnowingNetwork, damage: Callable[[NDArray[np.float32]], NDArray[np.float32]], reason: str
) -> None:
    follower = tracker(knowing)
    for k in range(3):
        push(follower, knowing, k)
    found = follower.push(FRAME, damage(FRAME), 3 / RATE)
    assert found.phase is Phase.COASTING
    assert re.match(reason, found.reason), found.reason


def test_wrong_arguments_are_named(knowing: KnowingNetwork) -> None:
    with pytest.raises(InputError, match="time_s: expected a finite number, found nan"):
        tracker(knowing).push(FRAME, FRAME, float("nan"))
    with pytest.raises(InputError, match=r"frame2: expected an array \(h, w\), found NoneType"):
        tracker(knowing).push(FRAME, None, 0.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rig: expected two views, found 1"):
        Tracker(knowing.bone, Rig(knowing.rig.fluoroscopes[:1]), knowing)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gate: expected a positive number"):
        Limits(gate=0)


def test_a_network_of_the_whole_field_is_shown_just_that(knowing: KnowingNetwork) -> None:
    knowing.crop_margin = None
    follower = tracker(knowing)
    for k in range(4):
        assert push(follower, knowing, k).ok
        assert knowing.seen[-2][0] == knowing.rig.fluoroscopes[0].whole


def test_a_cold_start_looks_at_the_whole_field(knowing: KnowingNetwork) -> None:
    push(tracker(knowing), knowing, 0)
    assert knowing.seen[0][0] == knowing.rig.fluoroscopes[0].whole


def test_a_segmented_track_sees_what_the_mask_leaves(knowing: KnowingNetwork) -> None:
    """The segmenter sees every crop; where it finds no bone any more, there is nothing to track."""

    shows, crops_seen = [True], []

    def find(crops: Tensor) -> Tensor:
        crops_seen.extend(crops)
        return torch.full_like(crops, float(shows[-1]))

    facts = SegmentFacts(size=SIZE, preprocessing=knowing.landmarks.facts.preprocessing, training={})
    segmenter = SegmentNetwork(facts, Placed(lambda device: find, PROCESSOR, "finding"))
    follower = tracker(knowing, segmenter=segmenter)
    assert push(follower, knowing, 0).ok
    before = len(crops_seen)
    assert push(follower, knowing, 1).phase is Phase.TRACKING
    assert len(crops_seen) == before + 2
    shows.append(False)
    blind = push(follower, knowing, 2)
    assert blind.phase is Phase.COASTING
    assert "too few points" in blind.reason
